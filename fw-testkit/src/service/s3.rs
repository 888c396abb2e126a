//! S3 as far as objects are read, and strict: what is not signed, or is signed for another region, is refused.
//!
//! Whether a signature has all its parts is looked at, not whether it is right: that is between the SDK and AWS (Signature Version 4,
//! "Authenticating Requests: Using the Authorization Header" in the API reference of S3).

use super::http::Request;
use super::objects::{Answer, conditional};

/// Who may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The id of its access key.
    pub access_key: String,
    /// The region that its requests must be signed for.
    pub region: String,
}

/// The headers that must be signed.
const SIGNED: [&str; 3] = ["host", "x-amz-content-sha256", "x-amz-date"];

pub(super) fn answer(
    account: &Account,
    request: &Request,
    path: &str,
    object: Option<&[u8]>,
    has_bucket: impl Fn(&str) -> bool,
) -> Answer {
    if let Some((status, code)) = fault(account, request) {
        return refusal(status, code);
    }
    let Some((bucket, key)) = path.trim_start_matches('/').split_once('/').filter(|(_, key)| !key.is_empty()) else {
        return refusal(400, "InvalidRequest");
    };
    match object {
        _ if request.method != "GET" => refusal(405, "MethodNotAllowed"),
        None if !has_bucket(bucket) => refusal(404, "NoSuchBucket"),
        None => refusal(404, if key.ends_with('/') { "InvalidRequest" } else { "NoSuchKey" }),
        Some(bytes) => match request.header("Range") {
            None => conditional(request, bytes),
            Some(range) => part(range, bytes),
        },
    }
}

/// What is wrong with the signature.
fn fault(account: &Account, request: &Request) -> Option<(u16, &'static str)> {
    let Some(authorization) = request.header("Authorization") else { return Some((403, "AccessDenied")) };
    let malformed = Some((400, "AuthorizationHeaderMalformed"));
    let Some(parts) = authorization.strip_prefix("AWS4-HMAC-SHA256 ") else { return malformed };
    let part = |name: &str| parts.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
    let (Some(credential), Some(signed), Some(signature)) =
        (part("Credential"), part("SignedHeaders"), part("Signature"))
    else {
        return malformed;
    };
    let scope: Vec<&str> = credential.split('/').collect();
    let [access_key, date, region, "s3", "aws4_request"] = scope.as_slice() else { return malformed };
    let signed: Vec<&str> = signed.split(';').collect();
    let is_whole = SIGNED.iter().all(|name| signed.contains(name) && request.header(name).is_some());
    let is_signature = signature.len() == 64 && signature.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_dated = request.header("x-amz-date").is_some_and(|at| at.len() == 16 && at.starts_with(date));
    if !is_whole || !is_signature || !is_dated || *region != account.region {
        return malformed;
    }
    (*access_key != account.access_key).then_some((403, "InvalidAccessKeyId"))
}

fn refusal(status: u16, code: &str) -> Answer {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{code}</Message></Error>"
    );
    Answer { headers: vec![("Content-Type", "application/xml".to_owned())], ..Answer::new(status, body.into_bytes()) }
}

/// `bytes=FIRST-LAST`.
fn part(range: &str, bytes: &[u8]) -> Answer {
    let ends = range.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let ends = ends.and_then(|(first, last)| Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?)));
    match ends {
        Some((first, last)) if first <= last && first < bytes.len() => {
            let last = last.min(bytes.len() - 1);
            let place = format!("bytes {first}-{last}/{}", bytes.len());
            Answer { headers: vec![("Content-Range", place)], ..Answer::new(206, bytes[first..=last].to_vec()) }
        }
        _ => refusal(416, "InvalidRange"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=KEY/20260101/eu/s3/aws4_request, \
        SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=";

    fn asked(authorization: Option<String>, more: &[(&str, &str)]) -> Answer {
        let account = Account { access_key: "KEY".to_owned(), region: "eu".to_owned() };
        let mut headers: Vec<(String, String)> =
            [("Host", "b"), ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"), ("x-amz-date", "20260101T000000Z")]
                .iter()
                .chain(more)
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
        headers.extend(authorization.map(|value| ("Authorization".to_owned(), value)));
        let request = Request { method: "GET".to_owned(), path: "/bucket/key".to_owned(), headers };
        answer(&account, &request, "/bucket/key", Some(b"0123456789"), |_| true)
    }

    fn signed() -> String {
        format!("{AUTHORIZATION}{}", "0".repeat(64))
    }

    #[test]
    fn only_requests_that_are_signed_for_the_account_are_answered() {
        assert_eq!(asked(Some(signed()), &[]).status, 200);
        assert_eq!(asked(None, &[]).status, 403);
        for wrong in [
            signed().replace("AWS4", "AWS3"),
            signed().replace("/eu/", "/us/"),
            signed().replace("host;", ""),
            signed().replace("20260101/", "20260102/"),
            AUTHORIZATION.to_owned(),
        ] {
            assert_eq!(asked(Some(wrong.clone()), &[]).status, 400, "{wrong}");
        }
        let other = asked(Some(signed().replace("KEY", "OTHER")), &[]);
        assert!(other.status == 403 && String::from_utf8_lossy(&other.body).contains("InvalidAccessKeyId"));
    }

    #[test]
    fn parts_and_known_versions_are_told() {
        let part = asked(Some(signed()), &[("Range", "bytes=2-4")]);
        assert_eq!((part.status, part.body.as_slice()), (206, b"234".as_slice()));
        assert_eq!(asked(Some(signed()), &[("Range", "bytes=10-")]).status, 416);
        let whole = asked(Some(signed()), &[]);
        let etag = whole.headers[0].1.clone();
        assert_eq!(asked(Some(signed()), &[("If-None-Match", &etag)]).status, 304);
    }
}
