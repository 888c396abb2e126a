//! What the instance can know of itself: the instance metadata service, version 2 (EC2 user guide, "Use the Instance Metadata Service to
//! access instance metadata"). It is on the host, so it is there when the Region is not.

use std::time::Duration;

use aws_config::imds::client::Client;
use aws_config::imds::client::error::ImdsError;
use aws_config::provider_config::ProviderConfig;
use tokio::sync::OnceCell;

use crate::http::{self, chain};
use crate::ids::EniId;

/// How long one answer may take, of several attempts.
const ANSWER: Duration = Duration::from_secs(1);

/// The service; nothing is asked before it is needed.
#[derive(Debug, Default)]
pub struct Metadata {
    client: OnceCell<Client>,
}

/// Why the service has not said it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Nobody answers.
    #[error(
        "the instance metadata service does not answer: {0}: it has to be enabled for the instance (`aws ec2 modify-instance-metadata-options \
         --http-endpoint enabled`), and no firewall of the host may keep the agent from 169.254.169.254"
    )]
    Unreachable(String),
    /// It gives no token.
    #[error("the instance metadata service gives no session token: {0}")]
    NoToken(String),
    /// It says something that is not expected.
    #[error("the instance metadata service: {0}")]
    Unexpected(String),
}

impl Metadata {
    /// The network interface of the device with this hardware address, as six octets in lower case with colons; `None` if the service does
    /// not know it, or not yet: after an interface was attached to a running instance, that takes a while.
    ///
    /// # Errors
    /// If the service does not say it.
    pub async fn interface(&self, mac: &str) -> Result<Option<EniId>, MetadataError> {
        let path = format!("/latest/meta-data/network/interfaces/macs/{mac}/interface-id");
        let Some(id) = self.get(&path).await? else { return Ok(None) };
        id.parse()
            .map(Some)
            .map_err(|error| MetadataError::Unexpected(format!("{path}: `{}`: {error}", id.escape_debug())))
    }

    /// An entry; `None` if there is none.
    async fn get(&self, path: &str) -> Result<Option<String>, MetadataError> {
        let client = self.client.get_or_try_init(connect).await?;
        match client.get(path).await {
            Ok(value) => Ok(Some(value.as_ref().trim().to_owned())),
            Err(error) => told(path, &error),
        }
    }
}

async fn connect() -> Result<Client, MetadataError> {
    let http = http::client(None).map_err(MetadataError::Unexpected)?;
    let config = ProviderConfig::default().with_http_client(http);
    // Whoever asks tries again by himself, and says why.
    let client = Client::builder().configure(&config).max_attempts(1).connect_timeout(ANSWER).read_timeout(ANSWER);
    Ok(client.build())
}

fn told(path: &str, error: &ImdsError) -> Result<Option<String>, MetadataError> {
    match error {
        ImdsError::ErrorResponse(answer) => match answer.response().status().as_u16() {
            404 => Ok(None),
            status => Err(MetadataError::Unexpected(format!("{path}: HTTP {status}"))),
        },
        ImdsError::FailedToLoadToken(token) if token.is_dispatch_failure() => {
            Err(MetadataError::Unreachable(chain(error)))
        }
        ImdsError::FailedToLoadToken(_) => Err(MetadataError::NoToken(chain(error))),
        ImdsError::IoError(_) => Err(MetadataError::Unreachable(chain(error))),
        ImdsError::Unexpected(_) | _ => Err(MetadataError::Unexpected(format!("{path}: {}", chain(error)))),
    }
}
