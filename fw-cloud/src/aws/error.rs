//! What an error of the API means (EC2 developer guide, "Error codes for the Amazon EC2 API"; API reference of Auto Scaling, "Common
//! Errors").

use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::cloud::{CloudError, Kind};
use crate::http::chain;

pub(super) fn told<E>(action: &'static str, error: &SdkError<E, HttpResponse>) -> CloudError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let (kind, message) = match error {
        SdkError::ServiceError(answer) => {
            let code = answer.err().code().unwrap_or("no code");
            let message = answer.err().message().unwrap_or("no message");
            (kind(code, message, answer.raw().status().as_u16()), format!("{code}: {message}"))
        }
        SdkError::TimeoutError(_) => (Kind::Unreachable, "no answer in time".to_owned()),
        SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_) => {
            let text = chain(error);
            let is_of_credentials = text.contains("credentials") || text.contains("identity");
            (if is_of_credentials { Kind::Credentials } else { Kind::Unreachable }, text)
        }
        SdkError::ResponseError(_) | _ => (Kind::Unreachable, chain(error)),
    };
    let message = message.chars().flat_map(shown).collect();
    CloudError { action, kind, message }
}

/// A message of a stranger does not steer a terminal.
fn shown(character: char) -> Vec<char> {
    if character.is_control() { character.escape_default().collect() } else { vec![character] }
}

fn kind(code: &str, message: &str, status: u16) -> Kind {
    match code {
        "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "TooManyRequestsException" => Kind::Throttled,
        "AuthFailure"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidClientTokenId"
        | "RequestExpired"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => Kind::Credentials,
        "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" => Kind::Unauthorized,
        "AttachmentLimitExceeded" | "InstanceLimitExceeded" | "RouteLimitExceeded" => Kind::Limit,
        "IncorrectState" | "IncorrectInstanceState" | "InvalidNetworkInterface.InUse" | "DependencyViolation" => {
            Kind::Busy
        }
        // EC2 says this of an interface that is in use, and of a device index that is.
        "InvalidParameterValue" if message.contains("in use") || message.contains("already") => Kind::Busy,
        "ValidationError" if message.contains("No active Lifecycle Action") => Kind::NoActiveHook,
        "ScalingActivityInProgress" | "ResourceContention" => Kind::Busy,
        code if code.ends_with(".NotFound") || code == "InvalidInstanceID" => Kind::NotFound,
        _ if status >= 500 => Kind::Unreachable,
        _ => Kind::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_lead_to_what_follows_from_them() {
        for (code, message, status, expected) in [
            ("RequestLimitExceeded", "", 503, Kind::Throttled),
            ("InternalError", "", 500, Kind::Unreachable),
            ("Unavailable", "", 503, Kind::Unreachable),
            ("UnauthorizedOperation", "You are not authorized", 403, Kind::Unauthorized),
            ("AuthFailure", "", 401, Kind::Credentials),
            ("RequestExpired", "", 400, Kind::Credentials),
            ("InvalidNetworkInterface.InUse", "", 400, Kind::Busy),
            ("InvalidParameterValue", "Interface: [eni-1] in use.", 400, Kind::Busy),
            (
                "InvalidParameterValue",
                "Instance already has an interface attached at device index '1'.",
                400,
                Kind::Busy,
            ),
            ("InvalidParameterValue", "Value (x) for parameter y is invalid", 400, Kind::Refused),
            ("InvalidAttachmentID.NotFound", "", 400, Kind::NotFound),
            ("InvalidInstanceID.NotFound", "", 400, Kind::NotFound),
            ("AttachmentLimitExceeded", "", 400, Kind::Limit),
            ("ValidationError", "No active Lifecycle Action found with instance ID i-1", 400, Kind::NoActiveHook),
            ("ValidationError", "1 validation error detected", 400, Kind::Refused),
            ("OperationNotPermitted", "", 400, Kind::Refused),
        ] {
            assert_eq!(kind(code, message, status), expected, "{code}: {message}");
        }
    }
}
