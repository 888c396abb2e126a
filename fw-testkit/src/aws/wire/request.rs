//! A request of HTTP as a call: which service, which action, which parameters.

use std::collections::BTreeMap;

use hyper::HeaderMap;

use super::params::Dialect;
use super::{cloudwatch, ec2, query, rest};
use crate::aws::model::ApiError;

/// A service, which its name in the signature's scope tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Ec2,
    AutoScaling,
    CloudWatch,
    Outposts,
}

impl Service {
    const ALL: [Self; 4] = [Self::Ec2, Self::AutoScaling, Self::CloudWatch, Self::Outposts];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.name() == name)
    }

    /// As requests for it are signed.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::AutoScaling => "autoscaling",
            Self::CloudWatch => "monitoring",
            Self::Outposts => "outposts",
        }
    }

    pub(crate) const fn dialect(self) -> Dialect {
        match self {
            Self::Ec2 => Dialect::Ec2,
            Self::AutoScaling => Dialect::Query,
            Self::CloudWatch | Self::Outposts => Dialect::Rest,
        }
    }
}

/// A request, read whole.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The action and its parameters.
    pub(crate) fn action(&self, service: Service) -> Result<(String, BTreeMap<String, String>), ApiError> {
        match service {
            Service::Ec2 => self.form(ec2::VERSION),
            Service::AutoScaling => self.form(query::AUTO_SCALING_VERSION),
            Service::CloudWatch => self.cbor(),
            Service::Outposts => self.rest(),
        }
    }

    /// The form of the Query protocols, which is posted.
    fn form(&self, version: &str) -> Result<(String, BTreeMap<String, String>), ApiError> {
        if self.method != "POST" || self.path != "/" {
            let message = format!("{} {} is no call of this protocol", self.method, self.path);
            return Err(ApiError::new("InvalidAction", message));
        }
        let mut parameters = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(&self.body) {
            if parameters.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                return Err(ApiError::new("MalformedQueryString", format!("The parameter {name} is there twice")));
            }
        }
        let action = parameters.remove("Action");
        let action = action.ok_or_else(|| ApiError::new("MissingAction", "The request has no Action"))?;
        match parameters.remove("Version") {
            Some(named) if named == version => Ok((action, parameters)),
            named => {
                let message = format!("The API version is {version}, not {}", named.as_deref().unwrap_or("missing"));
                Err(ApiError::new("NoSuchVersion", message))
            }
        }
    }

    /// A call of the RPC v2 CBOR protocol of Smithy.
    fn cbor(&self) -> Result<(String, BTreeMap<String, String>), ApiError> {
        let unknown = || ApiError::new("UnknownOperationException", self.path.clone()).with_status(404);
        let malformed = || ApiError::new("SerializationException", "The body is no CBOR.");
        let action = cloudwatch::action(&self.method, &self.path).ok_or_else(unknown)?;
        if self.header("smithy-protocol") != Some("rpc-v2-cbor") {
            return Err(ApiError::new("SerializationException", "The header smithy-protocol is not rpc-v2-cbor."));
        }
        Ok((action, cloudwatch::parameters(&self.body).ok_or_else(malformed)?))
    }

    /// A call by method and path, with parameters in its query. One that is there several times is a list.
    fn rest(&self) -> Result<(String, BTreeMap<String, String>), ApiError> {
        let (path, query) = self.path.split_once('?').unwrap_or((&self.path, ""));
        let unknown = || ApiError::new("UnknownOperationException", format!("{} {path}", self.method)).with_status(404);
        let (action, outpost) = rest::action(&self.method, path).ok_or_else(unknown)?;
        let mut parameters: BTreeMap<String, String> =
            outpost.map(|id| ("OutpostId".to_owned(), id)).into_iter().collect();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let name = if name.ends_with("Filter") {
                let count = parameters.keys().filter(|key| key.starts_with(&format!("{name}."))).count();
                format!("{name}.{}", count + 1)
            } else {
                name.into_owned()
            };
            parameters.insert(name, value.into_owned());
        }
        Ok((action.to_owned(), parameters))
    }
}
