//! One request and its answer: who asks, is it allowed to get through, what does the world say. The clock and the
//! connection are the server's.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;

use super::auth;
use super::call::Call;
use super::refusal::{expired, refusal, throttled, unknown_key, xml};
use super::request::{Received, Service};
use super::{autoscaling, cbor, cloudwatch, ec2, query, rest};
use crate::aws::faults::{Harm, Region};
use crate::aws::model::ApiError;
use crate::aws::state::{Caller, Logged, Outcome, State};

/// An answer of HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn new(status: u16, kind: &str, body: Vec<u8>) -> Self {
        Self { status, headers: vec![("Content-Type", kind.to_owned())], body }
    }

    pub(super) fn cbor(status: u16, body: Vec<u8>) -> Self {
        let mut reply = Self::new(status, "application/cbor", body);
        reply.headers.push(("smithy-protocol", "rpc-v2-cbor".to_owned()));
        reply
    }

    pub(super) fn json(status: u16, value: &Value) -> Self {
        Self::new(status, "application/json", value.to_string().into_bytes())
    }
}

/// What the server does about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It answers.
    Answer(Reply),
    /// It asks again after this time.
    Wait(Duration),
    /// It never answers.
    Hang,
    /// It resets the connection.
    Reset,
}

/// Judges a request. `waited` says that a delay has been served already.
pub(crate) fn judge(state: &mut State, request: &Received, waited: bool) -> Verdict {
    match state.region {
        Region::BlackHole => return Verdict::Hang,
        Region::Refuses => return Verdict::Reset,
        Region::Up | Region::Throttles | Region::CredentialsExpired => {}
    }
    let asked = match Asked::read(state, request) {
        Ok(asked) => asked,
        Err((service, error)) => {
            let id = request_id(state);
            return Verdict::Answer(refusal(service, &error, &id));
        }
    };
    let harm = if waited { None } else { state.faults.next(&asked.action) };
    match harm {
        None => {
            let (reply, outcome) = asked.answer(state);
            asked.log(state, outcome);
            Verdict::Answer(reply)
        }
        Some(Harm::Delayed(delay)) => Verdict::Wait(delay),
        Some(Harm::Refused(error)) => {
            asked.log(state, Outcome::Refused(error.code.to_string()));
            let id = request_id(state);
            Verdict::Answer(refusal(asked.service, &error, &id))
        }
        Some(Harm::Hangs) => asked.lose(state, Outcome::Lost, Verdict::Hang),
        Some(Harm::Reset) => asked.lose(state, Outcome::Lost, Verdict::Reset),
        Some(Harm::DoneThenReset) => asked.do_and_lose(state, Verdict::Reset),
        Some(Harm::DoneThenHangs) => asked.do_and_lose(state, Verdict::Hang),
    }
}

/// A request that is understood, of somebody who is known.
struct Asked {
    service: Service,
    key: String,
    caller: Caller,
    action: String,
    parameters: BTreeMap<String, String>,
}

impl Asked {
    fn read(state: &State, request: &Received) -> Result<Self, (Service, ApiError)> {
        let (authorization, date) = (request.header("authorization"), request.header("x-amz-date"));
        let scope = auth::scope(authorization, date, &state.region_name, OffsetDateTime::now_utc());
        let scope = scope.map_err(|error| (Service::Ec2, error))?;
        let service = Service::named(&scope.service).ok_or_else(|| {
            let message = format!("Credential should be scoped to correct service, not '{}'.", scope.service);
            (Service::Ec2, ApiError::new("SignatureDoesNotMatch", message).with_status(403))
        })?;
        let caller = known(state, service, &scope.key, request.header("x-amz-security-token"));
        let caller = caller.map_err(|error| (service, error))?.clone();
        if state.region == Region::Throttles {
            return Err((service, throttled(service)));
        }
        let (action, parameters) = request.action(service).map_err(|error| (service, error))?;
        Ok(Self { service, key: scope.key, caller, action, parameters })
    }

    fn answer(&self, state: &mut State) -> (Reply, Outcome) {
        let (id, now) = (request_id(state), state.now());
        let asked = (self.action.as_str(), self.parameters.clone());
        let mut call = Call::new(self.service.dialect(), asked, &self.caller, now, state.began, &mut state.history);
        let answered = match self.service {
            Service::Ec2 => ec2::answer(&mut call, &id).map(|body| xml(200, body)),
            Service::AutoScaling => autoscaling::answer(&mut call)
                .map(|body| xml(200, query::answer(query::AUTO_SCALING, &self.action, body, &id))),
            Service::CloudWatch => cloudwatch::answer(&mut call).map(|value| Reply::cbor(200, cbor::write(&value))),
            Service::Outposts => rest::answer(&mut call).map(|value| Reply::json(200, &value)),
        };
        state.history.note(now);
        match answered {
            Ok(reply) => (reply, Outcome::Done),
            Err(error) => (refusal(self.service, &error, &id), Outcome::Refused(error.code.into_owned())),
        }
    }

    fn log(&self, state: &mut State, outcome: Outcome) {
        let (at, service) = (state.now(), self.service.name().to_owned());
        let (key, action, parameters) = (self.key.clone(), self.action.clone(), self.parameters.clone());
        state.log.push(Logged { at, key, service, action, parameters, outcome });
    }

    fn lose(&self, state: &mut State, outcome: Outcome, verdict: Verdict) -> Verdict {
        self.log(state, outcome);
        verdict
    }

    fn do_and_lose(&self, state: &mut State, verdict: Verdict) -> Verdict {
        let (_, outcome) = self.answer(state);
        let lost = if outcome == Outcome::Done { Outcome::AnswerLost } else { outcome };
        self.lose(state, lost, verdict)
    }
}

/// Who has a key. It must come with its session, and must not have expired.
fn known<'s>(state: &'s State, service: Service, key: &str, session: Option<&str>) -> Result<&'s Caller, ApiError> {
    let caller = state.callers.get(key).filter(|caller| caller.session.as_deref() == session);
    let caller = caller.ok_or_else(|| unknown_key(service))?;
    let is_late = caller.expires.is_some_and(|expires| state.now() >= expires);
    if is_late || state.region == Region::CredentialsExpired { Err(expired(service)) } else { Ok(caller) }
}

/// An identifier for each request, in the form of a UUID.
fn request_id(state: &mut State) -> String {
    state.requests += 1;
    format!("00000000-0000-4000-8000-{:012x}", state.requests)
}
