//! delphi
