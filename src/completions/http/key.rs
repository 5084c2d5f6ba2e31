//! The key of an endpoint: from the environment, and nowhere to be seen.

use std::borrow::Cow;
use std::fmt;

use url::Url;

/// Where a key is looked for, in this order.
pub const VARIABLES: [&str; 2] = ["NEURONLAKE_API_KEY", "OPENAI_API_KEY"];

/// Characters that a key must have to be looked for in texts. Endpoints' keys have dozens; what is put in the place of one where none is
/// wanted, such as `token` or `x`, stands in ordinary words.
const LOOKED_FOR: usize = 8;

/// A key. It has no way out but the header of a request.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    secret: String,
    variable: &'static str,
}

impl ApiKey {
    /// The key that the environment holds for an address; see [`ApiKey::choose`].
    pub fn from_environment(base_url: &Url) -> Option<Self> {
        Self::choose(base_url, |variable| std::env::var(variable).ok())
    }

    /// The key for an address among variables. `NEURONLAKE_API_KEY` goes wherever the user points; `OPENAI_API_KEY`, which may be set
    /// for other programs, only over https or to this machine.
    pub fn choose(base_url: &Url, variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let secret = |name: &str| variable(name).map(|key| key.trim().to_owned()).filter(|key| !key.is_empty());
        let [own, openai] = VARIABLES;
        if let Some(secret) = secret(own) {
            return Some(Self { secret, variable: own });
        }
        let safe = base_url.scheme() == "https" || is_loopback(base_url);
        let secret = secret(openai)?;
        if !safe {
            tracing::warn!("{openai} is not sent without encryption; set {own} to send it all the same");
            return None;
        }
        Some(Self { secret, variable: openai })
    }

    /// The variable it came from.
    pub fn variable(&self) -> &'static str {
        self.variable
    }

    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    /// A text without the key, should it hold it.
    pub(super) fn scrub<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.secret.chars().count() >= LOOKED_FOR && text.contains(&self.secret) {
            true => Cow::Owned(text.replace(&self.secret, "[key]")),
            false => Cow::Borrowed(text),
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("variable", &self.variable).finish_non_exhaustive()
    }
}

/// Whether an address is on this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
