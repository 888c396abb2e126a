//! Answers that say that something failed are short: what is longer is cut off, and not kept until it ends.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextMut;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use http_body_util::Limited;

/// The most bytes of such an answer.
const MOST: usize = 64 << 10;

/// Cuts them off. The SDK reads such an answer as a whole before anybody sees it, whatever is asked for.
#[derive(Debug)]
pub(crate) struct LimitFailures;

impl Intercept for LimitFailures {
    fn name(&self) -> &'static str {
        "LimitFailures"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        if !response.status().is_success() {
            let body = std::mem::replace(response.body_mut(), SdkBody::taken());
            *response.body_mut() = SdkBody::from_body_1_x(Limited::new(body, MOST));
        }
        Ok(())
    }
}
