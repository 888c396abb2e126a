//! The connections of the SDK.

use std::error::Error;

use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

/// A client whose TLS trusts the system's authorities, and those of a file in PEM.
///
/// # Errors
/// What is wrong with the file.
pub(crate) fn client(ca: Option<Vec<u8>>) -> Result<SharedHttpClient, String> {
    let mut trusted = TrustStore::default();
    if let Some(pem) = ca {
        trusted = trusted.with_pem_certificate(pem);
    }
    let tls = TlsContext::builder().with_trust_store(trusted).build().map_err(|error| error.to_string())?;
    Ok(Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(tls).build_https())
}

/// An error with all that lies behind it.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let told = source.to_string();
        if !text.ends_with(&told) {
            text.push_str(": ");
            text.push_str(&told);
        }
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    #[test]
    fn an_error_is_told_down_to_its_cause_and_nothing_twice() {
        let cause = Layer { text: "connection refused", source: None };
        let same = Layer { text: "connection refused", source: Some(Box::new(cause)) };
        let outer = Layer { text: "dispatch failure", source: Some(Box::new(same)) };
        assert_eq!(chain(&outer), "dispatch failure: connection refused");
    }
}
