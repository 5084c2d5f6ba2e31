//! `neuronlake serve` as a child of a test, on free ports.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::support::program;

/// A server that ends with the test.
pub(crate) struct Serving {
    child: Child,
    /// `127.0.0.1:…` of the viewer and the HTTP interface.
    pub(crate) http: String,
    /// `127.0.0.1:…` of Flight SQL.
    pub(crate) flight: String,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

impl Serving {
    pub(crate) fn start(lake: &str, arguments: &[&str]) -> Self {
        Self::of(program(Path::new("/")).args(["serve", "--lake", lake]).args(arguments))
    }

    /// With a token that callers must know.
    pub(crate) fn with_token(lake: &str, token: &str) -> Self {
        Self::of(program(Path::new("/")).args(["serve", "--lake", lake]).env("NEURONLAKE_TOKEN", token))
    }

    /// The server of a command that starts it; addresses are added.
    pub(crate) fn of(command: &mut Command) -> Self {
        if !command.get_envs().any(|(name, value)| name == "NEURONLAKE_TOKEN" && value.is_some()) {
            command.env_remove("NEURONLAKE_TOKEN");
        }
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        command.args(["--listen", "127.0.0.1:0", "--flight", "127.0.0.1:0"]);
        command.stdout(Stdio::piped()).stderr(std::fs::File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = |before: &str| {
            let line = lines.next().unwrap_or_else(|| panic!("{}", std::fs::read_to_string(&log).unwrap())).unwrap();
            line.strip_prefix(before).unwrap_or_else(|| panic!("expected '{before}', got '{line}'")).to_owned()
        };
        let http = address("viewer and HTTP interface: http://");
        let flight = address("Flight SQL: grpc://");
        Self { child, http, flight, log, _folder: folder }
    }

    /// The most memory it has held so far, in bytes.
    pub(crate) fn most_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// What it wrote to stderr.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Asks it to end, as a service manager does.
    pub(crate) fn terminate(&self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
    }

    /// How it ended.
    pub(crate) fn end(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
