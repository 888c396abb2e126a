//! What happens in Auto Scaling groups: instances are launched, wait for hooks, serve, are found unhealthy, wait for hooks
//! again, and end, while the group launches others.

use std::collections::BTreeMap;

use super::error::ApiError;
use super::instance::InstanceState;
use super::scaling::{Hook, HookResult, Lifecycle, Member, Transition, Wait};
use super::{Time, World, keys};

/// The least time between two looks at the same thing, whatever the settings say: time must go on.
const LEAST: Time = Time::from_millis(1);

/// What names the wait for a hook: the instance, or the token of the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiter<'a> {
    /// The instance.
    Instance(&'a str),
    /// The token.
    Token(&'a str),
}

impl World {
    /// Ends the wait of an instance for a hook.
    ///
    /// # Errors
    /// `ValidationError` with "No active Lifecycle Action found" when it does not wait for it, be it that it is too early,
    /// too late, or that there is no such hook, instance or group.
    pub fn complete_lifecycle_action(
        &mut self,
        now: Time,
        group: &str,
        hook: &str,
        waiter: Waiter<'_>,
        result: HookResult,
    ) -> Result<(), ApiError> {
        self.settle(now);
        let instance = self.waiting(group, hook, waiter)?;
        self.end_wait(now, group, &instance, hook, result);
        self.settle(now);
        Ok(())
    }

    /// Lets an instance wait for a hook for one more heartbeat, but not beyond the end of the wait as a whole.
    ///
    /// # Errors
    /// As [`World::complete_lifecycle_action`].
    pub fn record_heartbeat(&mut self, now: Time, group: &str, hook: &str, waiter: Waiter<'_>) -> Result<(), ApiError> {
        self.settle(now);
        let instance = self.waiting(group, hook, waiter)?;
        let Some(group) = self.scaling_groups.get_mut(group) else { return Ok(()) };
        let heartbeat = group.hooks.iter().find(|known| known.name == hook).map_or(Time::ZERO, |hook| hook.heartbeat);
        let wait = group.members.get_mut(&instance).and_then(|member| member.waits.get_mut(hook));
        if let Some(wait) = wait {
            wait.deadline = now + heartbeat;
        }
        Ok(())
    }

    /// The instance that waits for a hook.
    fn waiting(&self, group: &str, hook: &str, waiter: Waiter<'_>) -> Result<String, ApiError> {
        let members = self.scaling_groups.get(group).into_iter().flat_map(|group| &group.members);
        let mut waiting = members.filter_map(|(id, member)| Some((id, member.waits.get(hook)?)));
        let found = waiting.find(|(id, wait)| match waiter {
            Waiter::Instance(instance) => *id == instance,
            Waiter::Token(token) => wait.token == token,
        });
        found.map(|(id, _)| id.clone()).ok_or_else(|| {
            let of = match waiter {
                Waiter::Instance(instance) => format!("instance ID {instance}"),
                Waiter::Token(token) => format!("token {token}"),
            };
            ApiError::validation(format!("No active Lifecycle Action found with {of}"))
        })
    }

    /// Says that an instance is healthy or not.
    ///
    /// # Errors
    /// `ValidationError` for an instance that is in no group.
    pub fn set_health(
        &mut self,
        now: Time,
        instance: &str,
        healthy: bool,
        respect_grace: bool,
    ) -> Result<(), ApiError> {
        self.settle(now);
        let launched = self.instances.get(instance).map_or(Time::ZERO, |instance| instance.launched);
        let group = self.scaling_groups.values_mut().find(|group| group.members.contains_key(instance));
        let group = group.ok_or_else(|| not_managed(instance))?;
        let in_grace = now < launched + group.grace;
        if let Some(member) = group.members.get_mut(instance).filter(|_| healthy || !(respect_grace && in_grace)) {
            member.healthy = healthy;
        }
        self.settle(now);
        Ok(())
    }

    /// Takes an instance out of its group and ends it.
    ///
    /// # Errors
    /// `ValidationError` for an instance that is in no group, or if the group would get too small.
    pub fn terminate_in_group(&mut self, now: Time, instance: &str, decrement: bool) -> Result<String, ApiError> {
        self.settle(now);
        let step = self.settings.lifecycle_step;
        let group = self.scaling_groups.values_mut().find(|group| group.members.contains_key(instance));
        let group = group.ok_or_else(|| not_managed(instance))?;
        if decrement {
            if group.size.1 <= group.size.0 {
                let message = format!(
                    "Currently, desiredSize equals minSize ({}). Terminating instance without replacement will violate group's min size constraint.",
                    group.size.0
                );
                return Err(ApiError::validation(message));
            }
            group.size.1 -= 1;
        }
        if let Some(member) = group.members.get_mut(instance).filter(|member| !member.lifecycle.is_leaving()) {
            leave(member, now + step);
        }
        let name = group.name.clone();
        self.settle(now);
        Ok(name)
    }

    /// Whatever is due in the groups at this time; whether there was anything.
    pub(super) fn step_groups(&mut self, now: Time) -> bool {
        let mut any = false;
        for name in keys(&self.scaling_groups) {
            let members = self.scaling_groups.get(&name).map(|group| keys(&group.members)).unwrap_or_default();
            for id in members {
                any |= self.step_member(now, &name, &id);
            }
            any |= self.step_size(now, &name);
        }
        any
    }

    fn step_member(&mut self, now: Time, group_name: &str, id: &str) -> bool {
        let state = self.instances.get(id).map(|instance| instance.state);
        let (step, check) = (self.settings.lifecycle_step, self.settings.health_check);
        let Some(group) = self.scaling_groups.get_mut(group_name) else { return false };
        let replaces = !group.suspended.contains("ReplaceUnhealthy") && !group.suspended.contains("HealthCheck");
        let hooks = group.hooks.clone();
        let Some(member) = group.members.get_mut(id) else { return false };
        match member.lifecycle {
            Lifecycle::Pending if state == Some(InstanceState::Running) => {
                let waits = begin(&hooks, Transition::Launching, now, id);
                let none = waits.is_empty();
                member.waits = waits;
                member.lifecycle = if none { Lifecycle::InService } else { Lifecycle::PendingWait };
            }
            Lifecycle::Pending if is_over(state) => leave_at_once(member, now + step),
            Lifecycle::PendingProceed(at) if at <= now => member.lifecycle = Lifecycle::InService,
            Lifecycle::InService if replaces && (!member.healthy || is_over(state)) => match member.replaced {
                None => {
                    member.healthy = false;
                    member.replaced = Some(now + check);
                }
                Some(at) if at <= now => leave(member, now + step),
                Some(_) => return false,
            },
            Lifecycle::InService if member.replaced.is_some() => member.replaced = None,
            Lifecycle::Terminating(at) if at <= now => {
                let waits = begin(&hooks, Transition::Terminating, now, id);
                let none = waits.is_empty();
                member.waits = waits;
                member.lifecycle =
                    if none { Lifecycle::TerminatingProceed(now + step) } else { Lifecycle::TerminatingWait };
            }
            Lifecycle::PendingWait | Lifecycle::TerminatingWait => {
                let late = member.waits.iter().find(|(_, wait)| wait.deadline.min(wait.last) <= now);
                let Some((hook, _)) = late else { return false };
                let hook = hook.clone();
                let known = hooks.iter().find(|known| known.name == hook);
                let result = known.map_or(HookResult::Abandon, |known| known.default_result);
                self.end_wait(now, group_name, id, &hook, result);
            }
            Lifecycle::TerminatingProceed(at) if at <= now => {
                if state.is_none_or(|state| state == InstanceState::Terminated) {
                    group.members.remove(id);
                } else {
                    // It goes on when the instance has ended.
                    let ended = now + (self.settings.shut_down + step).max(LEAST);
                    member.lifecycle = Lifecycle::TerminatingProceed(ended);
                    self.shut_down(now, id);
                }
            }
            Lifecycle::Pending
            | Lifecycle::PendingProceed(_)
            | Lifecycle::InService
            | Lifecycle::Terminating(_)
            | Lifecycle::TerminatingProceed(_)
            | Lifecycle::TerminatingRetained => return false,
        }
        true
    }

    /// Launches an instance when there are too few, after a while.
    fn step_size(&mut self, now: Time, name: &str) -> bool {
        let (replacement, retry) = (self.settings.replacement, self.settings.health_check);
        let Some(group) = self.scaling_groups.get_mut(name) else { return false };
        if group.staying() >= group.size.1 || group.suspended.contains("Launch") {
            return group.launches.take().is_some();
        }
        match group.launches {
            None => group.launches = Some(now + replacement),
            Some(at) if at > now => return false,
            Some(_) => {
                let launch = group.launch.clone();
                let launched = self.launch_now(now, &launch).ok();
                let Some(group) = self.scaling_groups.get_mut(name) else { return false };
                // Without capacity it is tried again.
                group.launches = launched.is_none().then_some(now + (replacement + retry).max(LEAST));
                let fresh =
                    Member { lifecycle: Lifecycle::Pending, healthy: true, replaced: None, waits: BTreeMap::new() };
                group.members.extend(launched.map(|id| (id, fresh)));
            }
        }
        true
    }

    fn end_wait(&mut self, now: Time, group: &str, id: &str, hook: &str, result: HookResult) {
        let proceeds = now + self.settings.lifecycle_step;
        let Some(group) = self.scaling_groups.get_mut(group) else { return };
        let retains = group.retains;
        let Some(member) = group.members.get_mut(id) else { return };
        member.waits.remove(hook);
        match (member.lifecycle.is_leaving(), result) {
            (_, HookResult::Continue) if !member.waits.is_empty() => {}
            (false, HookResult::Continue) => member.lifecycle = Lifecycle::PendingProceed(proceeds),
            (true, HookResult::Continue) => member.lifecycle = Lifecycle::TerminatingProceed(proceeds),
            (false, HookResult::Abandon) => leave_at_once(member, proceeds),
            (true, HookResult::Abandon) => {
                member.waits.clear();
                member.lifecycle =
                    if retains { Lifecycle::TerminatingRetained } else { Lifecycle::TerminatingProceed(proceeds) };
            }
        }
    }
}

/// Lets a member be on its way out.
fn leave(member: &mut Member, waits_from: Time) {
    member.waits.clear();
    member.replaced = None;
    member.lifecycle = Lifecycle::Terminating(waits_from);
}

/// The same without hooks: a launch that was given up.
fn leave_at_once(member: &mut Member, at: Time) {
    member.waits.clear();
    member.lifecycle = Lifecycle::TerminatingProceed(at);
}

fn is_over(state: Option<InstanceState>) -> bool {
    !matches!(state, Some(InstanceState::Pending(_) | InstanceState::Running))
}

fn begin(hooks: &[Hook], transition: Transition, now: Time, instance: &str) -> BTreeMap<String, Wait> {
    let of_transition = hooks.iter().filter(|hook| hook.transition == transition);
    let wait = |hook: &Hook| Wait {
        deadline: now + hook.heartbeat,
        last: now + hook.longest(),
        token: token(&hook.name, instance, now),
    };
    of_transition.map(|hook| (hook.name.clone(), wait(hook))).collect()
}

/// A token in the form of a UUID, of which each wait has its own.
fn token(hook: &str, instance: &str, now: Time) -> String {
    let text = format!("{hook}/{instance}/{now:?}");
    let hash = |seed: u128| {
        text.bytes().fold(seed, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    };
    let digits = format!("{:032x}", hash(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d));
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default().to_owned();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

fn not_managed(instance: &str) -> ApiError {
    let message = format!("Instance Id not found - No managed instance found for instance ID: {instance}");
    ApiError::validation(message)
}
