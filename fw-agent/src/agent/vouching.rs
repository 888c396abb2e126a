//! What the data plane is told of the routes: that they have changed, and for how long it may rely on being told.

use crate::dataplane::Dataplane;

/// For how long the data plane relies on the supervisor to tell it of changes: several guard rounds, and less than what a
/// replaced host would be willing to wait.
const FOLLOWED_SECONDS: u32 = 15;

/// Whether the data plane has been told of everything.
#[derive(Debug, Default)]
pub(super) struct Vouching {
    /// Something has changed of which it could not be told.
    overlooked: bool,
}

impl Vouching {
    /// Says that routes and neighbours are followed, and will be for some rounds more; unless there is a change that could not be
    /// told. Only the task that follows them may call this: while it waits for something, the data plane is to notice.
    pub(super) fn renew(&mut self, dataplane: &dyn Dataplane) {
        if self.overlooked {
            self.invalidate(dataplane, "an earlier change could not be told");
        }
        if self.overlooked {
            return;
        }
        if let Err(error) = dataplane.follow_routes_for(FOLLOWED_SECONDS) {
            tracing::error!(%error, "the data plane could not be told that routes are followed; it looks next hops up every second");
        }
    }

    /// Says that next hops are to be looked up anew.
    pub(super) fn invalidate(&mut self, dataplane: &dyn Dataplane, reason: &str) {
        tracing::debug!(reason, "next hops are looked up anew");
        let told = dataplane.invalidate_next_hops();
        self.overlooked = told.is_err();
        if let Err(error) = told {
            tracing::error!(%error, reason, "next hops could not be invalidated");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::fake::FakeDataplane;

    #[test]
    fn routes_are_not_vouched_for_while_a_change_could_not_be_told() {
        let (dataplane, mut vouching) = (FakeDataplane::default(), Vouching::default());
        let told = || {
            let state = dataplane.state();
            (state.followed, state.invalidations)
        };
        vouching.renew(&dataplane);
        assert_eq!(told(), (1, 0));
        dataplane.state().invalidations_fail = true;
        vouching.invalidate(&dataplane, "test");
        vouching.renew(&dataplane);
        assert_eq!(told(), (1, 0), "not vouched for");
        dataplane.state().invalidations_fail = false;
        vouching.renew(&dataplane);
        assert_eq!(told(), (2, 1), "told, and then vouched for");
    }
}
