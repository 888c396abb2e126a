//! The Query protocol of AWS (Smithy, awsQuery), which Auto Scaling speaks.

use super::Xml;
use crate::aws::model::ApiError;

/// The version of the API of Auto Scaling.
pub(crate) const AUTO_SCALING_VERSION: &str = "2011-01-01";

/// Its name space.
pub(crate) const AUTO_SCALING: &str = "http://autoscaling.amazonaws.com/doc/2011-01-01/";

/// The answer of an action.
pub(crate) fn answer(namespace: &str, action: &str, body: Xml, request_id: &str) -> String {
    let body = body.into_text();
    format!(
        "<{action}Response xmlns=\"{namespace}\"><{action}Result>{body}</{action}Result>\
         <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
    )
}

/// The same for an error.
pub(crate) fn refusal(namespace: &str, error: &ApiError, request_id: &str) -> String {
    let mut xml = Xml::query();
    xml.within("Error", |xml| {
        xml.leaf("Type", if error.status < 500 { "Sender" } else { "Receiver" });
        xml.leaf("Code", &error.code);
        xml.leaf("Message", &error.message);
    });
    xml.leaf("RequestId", request_id);
    format!("<ErrorResponse xmlns=\"{namespace}\">{}</ErrorResponse>", xml.into_text())
}
