//! A call under way: who asks, for what, and the only way to the world, which is by giving its parameters up.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::params::{Dialect, Params};
use crate::aws::model::{ApiError, History, Time, World};
use crate::aws::state::Caller;

/// A call.
pub(crate) struct Call<'a> {
    pub(crate) action: &'a str,
    pub(crate) params: Params,
    pub(crate) caller: &'a Caller,
    pub(crate) now: Time,
    began: OffsetDateTime,
    dialect: Dialect,
    history: &'a mut History,
}

impl<'a> Call<'a> {
    /// A call of an action with its parameters. `began` is when the world did, for time stamps.
    pub(crate) fn new(
        dialect: Dialect,
        (action, parameters): (&'a str, BTreeMap<String, String>),
        caller: &'a Caller,
        now: Time,
        began: OffsetDateTime,
        history: &'a mut History,
    ) -> Self {
        Self { action, params: Params::new(dialect, parameters), caller, now, began, dialect, history }
    }

    /// The world as it is, to be changed. All parameters must have been taken, the caller must be allowed to, and a dry run
    /// ends here.
    pub(crate) fn live(&mut self) -> Result<&mut World, ApiError> {
        self.may_go_on()?;
        Ok(self.history.live(self.now))
    }

    /// The world as descriptions show it, under the same conditions.
    pub(crate) fn described(&mut self) -> Result<World, ApiError> {
        self.may_go_on()?;
        Ok(self.history.described(self.now))
    }

    fn may_go_on(&mut self) -> Result<(), ApiError> {
        let dry = self.dialect == Dialect::Ec2 && self.params.parsed::<bool>("DryRun")?.unwrap_or(false);
        self.params.finish()?;
        if self.caller.denied.contains(self.action) {
            let message = "You are not authorized to perform this operation.";
            let code = match self.dialect {
                Dialect::Ec2 => "UnauthorizedOperation",
                Dialect::Query => "AccessDenied",
                Dialect::Rest => "AccessDeniedException",
            };
            return Err(ApiError::new(code, message).with_status(403));
        }
        if dry {
            let message = "Request would have succeeded, but DryRun flag is set.";
            return Err(ApiError::new("DryRunOperation", message).with_status(412));
        }
        Ok(())
    }

    /// A time of the world as the services write it, in UTC.
    pub(crate) fn stamp(&self, time: Time) -> String {
        // Seconds are what the services write; a whole number of them can always be written.
        let at = self.began + time;
        at.replace_nanosecond(0).ok().and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
    }
}
