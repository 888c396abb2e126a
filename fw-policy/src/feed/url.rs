//! Where a feed comes from.

use std::fmt;

/// What to write.
const HOW: &str = "write a file, `https://HOST/PATH` or `s3://BUCKET/KEY`";

/// A file of the firewall, or an object elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedUrl {
    /// A file: `lists/blocked.txt` in the directory that `[feeds]` of `agent.toml` names, or `file:///…` within it.
    File(String),
    /// An object of a web server, `https://…`.
    Https(String),
    /// An object of S3, `s3://BUCKET/KEY`.
    S3 {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
    },
}

impl FeedUrl {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what to write.
    pub fn parse(text: &str) -> Result<Self, UrlFault> {
        let fault = |message: String, help: &'static str| Err(UrlFault { message, help });
        if text.chars().any(|character| character.is_whitespace() || character.is_control()) {
            return fault(format!("`{}` has a space or a control character", text.escape_debug()), "write it as `%20`");
        }
        let Some((scheme, rest)) = text.split_once("://") else { return Self::file(text, text) };
        match scheme {
            "file" if rest.starts_with('/') => Self::file(text, rest),
            "file" => fault(format!("`{text}` names another host"), "write `file:///` and the path"),
            "https" => {
                let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
                if authority.contains('@') {
                    let help = "a policy is read by many: sign the list, or let it be fetched from S3";
                    return fault("a URL in a policy carries no password".to_owned(), help);
                }
                let (host, port) = host_and_port(authority);
                if host.is_empty() {
                    return fault(format!("`{text}` names no host"), "write `https://HOST/PATH`");
                }
                if port.is_some_and(|port| !is_port(port)) {
                    return fault(
                        format!("`{text}` has no port behind `:`"),
                        "write 1 to 65535, or no `:` for port 443",
                    );
                }
                if rest.contains('#') {
                    return fault(
                        format!("`{text}` has a fragment, which is not sent to a server"),
                        "leave `#` and the rest out, or write `#` as `%23`",
                    );
                }
                Ok(Self::Https(text.to_owned()))
            }
            "s3" => match rest.split_once('/') {
                Some((bucket, key)) if is_bucket(bucket) && !key.is_empty() && !key.ends_with('/') => {
                    Ok(Self::S3 { bucket: bucket.to_owned(), key: key.to_owned() })
                }
                _ => fault(format!("`{text}` is no object of S3"), "write `s3://BUCKET/KEY`"),
            },
            "http" => fault(
                "a list that comes by `http://` can be changed by everybody on its way".to_owned(),
                "write `https://`",
            ),
            other => fault(format!("feeds do not come by `{other}://`"), HOW),
        }
    }

    fn file(text: &str, path: &str) -> Result<Self, UrlFault> {
        let fault = |message: String, help: &'static str| Err(UrlFault { message, help });
        if path.is_empty() || matches!(path.rsplit('/').next(), Some("" | ".")) {
            return fault(format!("`{text}` is not the name of a file"), HOW);
        }
        if path.split('/').any(|part| part == "..") {
            return fault(
                format!("`{text}` leads out of the directory of the feeds"),
                "write a path within the directory that `[feeds] directory` of agent.toml names",
            );
        }
        Ok(Self::File(path.to_owned()))
    }
}

/// The parts of an authority (RFC 3986, section 3.2): an IPv6 address stands in brackets.
fn host_and_port(authority: &str) -> (&str, Option<&str>) {
    let end_of_host = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    match authority[end_of_host..].find(':') {
        Some(colon) => (&authority[..end_of_host + colon], Some(&authority[end_of_host + colon + 1..])),
        None => (authority, None),
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse().is_ok_and(|port: u16| port != 0)
}

impl fmt::Display for FeedUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(text) | Self::Https(text) => formatter.write_str(text),
            Self::S3 { bucket, key } => write!(formatter, "s3://{bucket}/{key}"),
        }
    }
}

/// Whether a text can be the name of a bucket: 3 to 63 lower-case letters, digits, dots and hyphens, between letters or digits (S3's
/// user guide, "General purpose bucket naming rules").
#[must_use]
pub fn is_bucket(name: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len()) && name.bytes().all(is_of_name) && is_end(bytes.first()) && is_end(bytes.last())
}

/// Why a text is not where a feed can come from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}: {help}")]
pub struct UrlFault {
    pub(crate) message: String,
    pub(crate) help: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_is_a_file_or_an_object() {
        let parsed = |text: &str| FeedUrl::parse(text).unwrap();
        assert_eq!(parsed("lists/a.txt"), FeedUrl::File("lists/a.txt".to_owned()));
        assert_eq!(parsed("file:///etc/a..b.txt"), FeedUrl::File("/etc/a..b.txt".to_owned()));
        assert_eq!(
            parsed("https://[2001:db8::1]:8443/a?b=c"),
            FeedUrl::Https("https://[2001:db8::1]:8443/a?b=c".to_owned())
        );
        let (bucket, key) = ("lists.example".to_owned(), "2026/blocked.txt".to_owned());
        assert_eq!(parsed("s3://lists.example/2026/blocked.txt"), FeedUrl::S3 { bucket, key });
        for text in ["lists/a.txt", "https://a.example/b", "s3://bucket/key/of/it"] {
            assert_eq!(parsed(text).to_string(), text);
        }
    }

    #[test]
    fn what_a_feed_cannot_come_from_is_said_with_what_to_write() {
        for (text, told) in [
            ("", "not the name of a file"),
            ("lists/", "not the name of a file"),
            (".", "not the name of a file"),
            ("lists/.", "not the name of a file"),
            ("https://:443/a", "names no host"),
            ("https://a.example:99999/b", "write 1 to 65535"),
            ("https://a.example:0/b", "write 1 to 65535"),
            ("https://a.example:/b", "write 1 to 65535"),
            ("https://a.example:+1/b", "write 1 to 65535"),
            ("https://[2001:db8::1]:x/b", "write 1 to 65535"),
            ("https://a.example/b#x", "has a fragment"),
            ("../a.txt", "leads out of the directory"),
            ("file:///etc/fw/../shadow", "leads out of the directory"),
            ("file://host/a", "names another host"),
            ("http://a.example/b", "write `https://`"),
            ("https://", "names no host"),
            ("https://user:secret@a.example/b", "carries no password"),
            ("https://a.example/b c", "space"),
            ("s3://bucket", "no object of S3"),
            ("s3://bucket/", "no object of S3"),
            ("s3://bucket/lists/", "no object of S3"),
            ("s3://Bucket_/key", "no object of S3"),
            ("s3://bucket-/key", "no object of S3"),
            ("ftp://a.example/b", "do not come by `ftp://`"),
        ] {
            let fault = FeedUrl::parse(text).unwrap_err().to_string();
            assert!(fault.contains(told), "{text}: {fault}");
        }
    }
}
