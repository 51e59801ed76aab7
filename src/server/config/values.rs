//! Parses the values of settings, with an error message for each invalid value.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use ipnet::IpNet;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// A valid log filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const LEVELS: &str = "write off, error, warn, info, debug or trace, or target=level, separated by commas";
        // A lone word that is not a level is a typing error: the filter would take it for a target, log all lines of
        // that target, and drop all others.
        let is_word = |part: &&str| !part.contains(['=', '[', ']', '{', '}', '"']);
        for word in text.split(',').map(str::trim).filter(is_word) {
            if word.is_empty() || word.parse::<LevelFilter>().is_err() {
                return Err(format!("`{word}` is not a level: {LEVELS}"));
            }
        }
        let parts = text.split(',').map(str::trim).collect::<Vec<_>>().join(",");
        EnvFilter::builder().parse(&parts).map_err(|error| format!("{error}: {LEVELS}"))?;
        Ok(Self(parts))
    }
}

impl From<&LogFilter> for EnvFilter {
    fn from(filter: &LogFilter) -> Self {
        Self::new(&filter.0)
    }
}

/// The behaviour of rate limits while Redis is unreachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LimitsWithoutRedis {
    /// Each node counts on its own.
    Open,
    /// Keys with a rate limit are refused.
    Closed,
}

/// The format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, otherwise JSON.
    Auto,
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// A right that is given or taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Gives the right.
    On,
    /// Takes the right away.
    Off,
}

impl Switch {
    /// Returns whether the right is given.
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

/// The public URL: scheme, host and optional port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PublicUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not of the form https://keys.example.com (no path)");
        let uri: http::Uri = text.parse().map_err(|_| wrong())?;
        let (Some("http" | "https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong());
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.as_str().contains('@') {
            return Err(wrong());
        }
        let scheme = uri.scheme_str().unwrap_or_default();
        let authority = authority.as_str().to_ascii_lowercase();
        // The URL is compared with origins, from which browsers omit the default port of the scheme.
        let default_port = if scheme == "https" { ":443" } else { ":80" };
        Ok(Self(format!("{scheme}://{}", authority.strip_suffix(default_port).unwrap_or(&authority))))
    }
}

/// Parses the memory for bodies. The minimum is 16 MiB, so that an eighth has room for the largest event, and a 64th
/// for the largest other body.
pub(super) fn body_memory(text: &str) -> Result<bytesize::ByteSize, String> {
    const MIN: bytesize::ByteSize = bytesize::ByteSize::mib(16);
    match text.parse() {
        Ok(bytes) if bytes >= MIN => Ok(bytes),
        Ok(_) => Err("must be at least 16MiB".to_owned()),
        Err(_) => Err(format!("`{text}` is not a number of bytes such as 256MiB")),
    }
}

/// Checks the name of a node: 1 to 64 characters, none of them a control character.
pub(super) fn node_name(text: &str) -> Result<String, String> {
    let is_valid = (1..=64).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if is_valid { Ok(text.to_owned()) } else { Err("a name has 1 to 64 characters".to_owned()) }
}

/// Parses a network or a single address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
        .map_err(|_| format!("`{text}` is neither a network such as 10.0.0.0/8 nor an address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_memory_is_at_least_16_mib() {
        assert_eq!(body_memory("64MiB"), Ok(bytesize::ByteSize::mib(64)));
        for wrong in ["", "0", "15MiB", "many", "-1"] {
            assert!(body_memory(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_log_filter_has_known_levels_only() {
        for right in ["info", "WARN", "off", "latchkey=debug,warn", "warn, latchkey::cluster=info", "[request]=trace"] {
            assert!(right.parse::<LogFilter>().is_ok(), "{right}");
        }
        for wrong in ["inof", "", "latchkey", "latchkey=inof", "info,", "info,debgu", "latchkey=debug,wran"] {
            let said = wrong.parse::<LogFilter>().expect_err(wrong);
            assert!(said.contains("debug or trace"), "{wrong}: {said}");
        }
    }

    #[test]
    fn a_public_url_has_no_path() {
        assert_eq!("https://Keys.example.com/".parse(), Ok(PublicUrl("https://keys.example.com".into())));
        assert_eq!("https://keys.example.com:443".parse(), Ok(PublicUrl("https://keys.example.com".into())));
        assert_eq!("http://[::1]:80".parse(), Ok(PublicUrl("http://[::1]".into())));
        assert_eq!("http://[::1]:443/".parse(), Ok(PublicUrl("http://[::1]:443".into())));
        for wrong in ["keys.example.com", "https://a/b", "ftp://a", "https://u@a", "https://a/?q", ""] {
            assert!(wrong.parse::<PublicUrl>().is_err(), "{wrong}");
        }
    }
}
