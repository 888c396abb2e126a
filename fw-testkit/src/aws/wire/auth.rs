//! Signature Version 4, as far as it can be judged without the secret: that it is there, complete, of this Region, of a
//! known key, and of today (IAM user guide, "AWS Signature Version 4 for API requests").

use time::macros::format_description;
use time::{Duration, OffsetDateTime, PrimitiveDateTime};

use crate::aws::model::ApiError;

/// How old or how early a request may be (EC2 error codes, `InvalidSecurity.RequestHasExpired`).
const TOLERANCE: Duration = Duration::minutes(5);

/// What the `Authorization` header names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) key: String,
    pub(crate) service: String,
}

/// Reads the header. The names of signed headers must include those that the scheme asks for.
pub(crate) fn scope(
    authorization: Option<&str>,
    date: Option<&str>,
    region: &str,
    now: OffsetDateTime,
) -> Result<Scope, ApiError> {
    let missing =
        || ApiError::new("MissingAuthenticationToken", "Request is missing Authentication Token").with_status(403);
    let rest = authorization.ok_or_else(missing)?.strip_prefix("AWS4-HMAC-SHA256").ok_or_else(missing)?;
    let part = |name: &str| {
        let found = rest.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
        found.ok_or_else(|| incomplete(&format!("Authorization header requires '{name}' parameter.")))
    };
    let (credential, headers, signature) = (part("Credential")?, part("SignedHeaders")?, part("Signature")?);
    let [key, day, scoped_region, service, "aws4_request"] = credential.split('/').collect::<Vec<_>>()[..] else {
        return Err(incomplete("Credential must have exactly 5 slash-delimited elements."));
    };
    if signature.len() != 64 || !signature.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(incomplete("Signature is not 64 hexadecimal digits."));
    }
    let signed: Vec<&str> = headers.split(';').collect();
    if !["host", "x-amz-date"].iter().all(|needed| signed.contains(needed)) {
        return Err(incomplete("'Host' and 'X-Amz-Date' must be 'SignedHeaders' in the AWS Authorization."));
    }
    if scoped_region != region {
        let message = format!("Credential should be scoped to a valid region, not '{scoped_region}'.");
        return Err(ApiError::new("SignatureDoesNotMatch", message).with_status(403));
    }
    let date = date.ok_or_else(|| incomplete("There is no 'X-Amz-Date'."))?;
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let at =
        PrimitiveDateTime::parse(date, format).map_err(|_| incomplete("'X-Amz-Date' is not a date."))?.assume_utc();
    if !date.starts_with(day) {
        return Err(incomplete("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date."));
    }
    if (now - at).abs() > TOLERANCE {
        return Err(ApiError::new("RequestExpired", "Request has expired."));
    }
    Ok(Scope { key: key.to_owned(), service: service.to_owned() })
}

fn incomplete(message: &str) -> ApiError {
    ApiError::new("IncompleteSignature", message).with_status(403)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-30 12:00 UTC);

    fn header(region: &str, signed: &str) -> String {
        let signature = "0123456789abcdef".repeat(4);
        let credential = format!("Credential=AKIATEST/20261130/{region}/ec2/aws4_request");
        format!("AWS4-HMAC-SHA256 {credential}, SignedHeaders={signed}, Signature={signature}")
    }

    #[test]
    fn what_is_not_signed_or_for_another_region_is_refused() {
        let ask =
            |header: Option<&str>, date| scope(header, Some(date), "eu-central-1", NOW).map_err(|error| error.code);
        let good = header("eu-central-1", "host;x-amz-date");
        let expected = Scope { key: "AKIATEST".to_owned(), service: "ec2".to_owned() };
        assert_eq!(ask(Some(&good), "20261130T120400Z"), Ok(expected));
        assert_eq!(ask(None, "20261130T120000Z").unwrap_err(), "MissingAuthenticationToken");
        assert_eq!(ask(Some(&good), "20261130T120600Z").unwrap_err(), "RequestExpired");
        assert_eq!(ask(Some(&good), "20261129T235900Z").unwrap_err(), "IncompleteSignature");
        let far = header("us-east-1", "host;x-amz-date");
        assert_eq!(ask(Some(&far), "20261130T120000Z").unwrap_err(), "SignatureDoesNotMatch");
        let few = header("eu-central-1", "host");
        assert_eq!(ask(Some(&few), "20261130T120000Z").unwrap_err(), "IncompleteSignature");
    }
}
