//! One request and its answer: who asks, is it allowed to get through, what does the world say. The clock and the
//! connection are the server's.

use std::time::Duration;

use time::OffsetDateTime;

use super::auth;
use super::call::Call;
use super::params::Params;
use super::request::{Received, Service};
use super::{ec2, query};
use crate::aws::faults::{Harm, Region, throttled_in_ec2};
use crate::aws::model::ApiError;
use crate::aws::state::{Logged, Outcome, State};

/// An answer of HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
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
    action: String,
    parameters: std::collections::BTreeMap<String, String>,
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
        known(state, service, &scope.key, request.header("x-amz-security-token")).map_err(|error| (service, error))?;
        if state.region == Region::Throttles {
            return Err((service, throttled(service)));
        }
        let (action, parameters) = request.action(service).map_err(|error| (service, error))?;
        Ok(Self { service, key: scope.key, action, parameters })
    }

    fn answer(&self, state: &mut State) -> (Reply, Outcome) {
        let (id, now) = (request_id(state), state.now());
        let Some(caller) = state.callers.get(&self.key) else {
            let error = ApiError::new("AuthFailure", "unknown caller");
            return (refusal(self.service, &error, &id), Outcome::Refused(error.code.into_owned()));
        };
        let dialect = self.service.dialect();
        let mut call = Call {
            action: &self.action,
            params: Params::new(dialect, self.parameters.clone()),
            caller,
            now,
            began: state.began,
            dialect,
            history: &mut state.history,
        };
        let answered = match self.service {
            Service::Ec2 => ec2::answer(&mut call, &id).map(|body| xml(200, body)),
            Service::AutoScaling => Err(ApiError::new("InvalidAction", "not yet")),
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

/// Whether a key is known, comes with its session, and has not expired.
fn known(state: &State, service: Service, key: &str, session: Option<&str>) -> Result<(), ApiError> {
    let invalid = || match service {
        Service::Ec2 => {
            let message = "AWS was not able to validate the provided access credentials";
            ApiError::new("AuthFailure", message).with_status(401)
        }
        Service::AutoScaling => {
            let message = "The security token included in the request is invalid.";
            ApiError::new("InvalidClientTokenId", message).with_status(403)
        }
    };
    let caller = state.callers.get(key).ok_or_else(invalid)?;
    if caller.session.as_deref() != session {
        return Err(invalid());
    }
    let expired = caller.expires.is_some_and(|expires| state.now() >= expires);
    if expired || state.region == Region::CredentialsExpired {
        return Err(match service {
            Service::Ec2 => ApiError::new("RequestExpired", "Request has expired."),
            Service::AutoScaling => {
                ApiError::new("ExpiredToken", "The security token included in the request is expired").with_status(403)
            }
        });
    }
    Ok(())
}

fn throttled(service: Service) -> ApiError {
    match service {
        Service::Ec2 => throttled_in_ec2(),
        Service::AutoScaling => ApiError::new("Throttling", "Rate exceeded"),
    }
}

fn xml(status: u16, body: String) -> Reply {
    Reply { status, headers: vec![("Content-Type", "text/xml;charset=UTF-8".to_owned())], body: body.into_bytes() }
}

fn refusal(service: Service, error: &ApiError, id: &str) -> Reply {
    match service {
        Service::Ec2 => xml(error.status, ec2::refusal(error, id)),
        Service::AutoScaling => xml(error.status, query::refusal(query::AUTO_SCALING, error, id)),
    }
}

/// An identifier for each request, in the form of a UUID.
fn request_id(state: &mut State) -> String {
    state.requests += 1;
    format!("00000000-0000-4000-8000-{:012x}", state.requests)
}
