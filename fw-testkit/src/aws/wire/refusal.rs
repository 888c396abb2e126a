//! Errors in the words and in the format of each service.

use serde_json::json;

use super::judge::Reply;
use super::request::Service;
use super::{cbor, ec2, query};
use crate::aws::faults::throttled_in_ec2;
use crate::aws::model::ApiError;

/// An answer that is an error.
pub(super) fn refusal(service: Service, error: &ApiError, id: &str) -> Reply {
    let code = &error.code;
    match service {
        Service::Ec2 => xml(error.status, ec2::refusal(error, id)),
        Service::AutoScaling => xml(error.status, query::refusal(query::AUTO_SCALING, error, id)),
        Service::CloudWatch => {
            let kind = format!("com.amazonaws.cloudwatch#{code}");
            let mut reply =
                Reply::cbor(error.status, cbor::write(&json!({ "__type": kind, "message": error.message })));
            // What an error of the service's own is called in the Query protocol (Smithy, awsQueryCompatible).
            if let Some(in_query) = code.strip_suffix("Exception").filter(|code| code.contains("Parameter")) {
                reply.headers.push(("x-amzn-query-error", format!("{in_query};Sender")));
            }
            reply
        }
        Service::Outposts => {
            let mut reply = Reply::json(error.status, &json!({ "Message": error.message }));
            reply.headers.push(("x-amzn-errortype", code.to_string()));
            reply
        }
    }
}

pub(super) fn xml(status: u16, body: String) -> Reply {
    Reply::new(status, "text/xml;charset=UTF-8", body.into_bytes())
}

/// Nobody has this key, or its session is another.
pub(super) fn unknown_key(service: Service) -> ApiError {
    let message = "The security token included in the request is invalid.";
    match service {
        Service::Ec2 => {
            let message = "AWS was not able to validate the provided access credentials";
            ApiError::new("AuthFailure", message).with_status(401)
        }
        Service::AutoScaling => ApiError::new("InvalidClientTokenId", message).with_status(403),
        Service::CloudWatch | Service::Outposts => {
            ApiError::new("UnrecognizedClientException", message).with_status(403)
        }
    }
}

/// The credentials were good once.
pub(super) fn expired(service: Service) -> ApiError {
    let message = "The security token included in the request is expired";
    match service {
        Service::Ec2 => ApiError::new("RequestExpired", "Request has expired."),
        Service::AutoScaling => ApiError::new("ExpiredToken", message).with_status(403),
        Service::CloudWatch | Service::Outposts => ApiError::new("ExpiredTokenException", message).with_status(403),
    }
}

/// Too much was asked.
pub(super) fn throttled(service: Service) -> ApiError {
    match service {
        Service::Ec2 => throttled_in_ec2(),
        Service::AutoScaling => ApiError::new("Throttling", "Rate exceeded"),
        Service::CloudWatch | Service::Outposts => ApiError::new("ThrottlingException", "Rate exceeded"),
    }
}
