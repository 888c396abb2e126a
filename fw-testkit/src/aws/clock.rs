//! Time passes: what is due in the world happens when it is due, not when somebody asks, and devices come and go with it.

use super::devices::Devices;
use super::model::{DeviceChange, Event, Time};
use super::server::Shared;

/// Runs until it is over. Devices are moved without the lock, in the order of time.
pub(super) fn run(shared: &Shared, mut devices: Box<dyn Devices>, is_over: impl Fn() -> bool) {
    let mut waiting: Vec<(Time, Event)> = Vec::new();
    let mut state = shared.lock();
    while !is_over() {
        let now = state.now();
        let world = state.history.live(now);
        for event in world.take_events() {
            let due = match event.change {
                DeviceChange::Plugged(at) => at,
                DeviceChange::Unplugged => now,
            };
            waiting.push((due, event));
        }
        let next = world.next_due();
        let (ready, later): (Vec<_>, Vec<_>) = waiting.drain(..).partition(|(due, _)| *due <= now);
        waiting = later;
        if !ready.is_empty() {
            drop(state);
            for (_, event) in ready {
                // A device that was late is not plugged in any more once its interface is detached.
                match event.change {
                    DeviceChange::Plugged(_) => devices.plug(&event),
                    DeviceChange::Unplugged => {
                        let same =
                            |other: &Event| other.interface == event.interface && other.instance == event.instance;
                        waiting.retain(|(_, other)| !same(other));
                        devices.unplug(&event);
                    }
                }
            }
            state = shared.lock();
            continue;
        }
        let next = next.into_iter().chain(waiting.iter().map(|(due, _)| *due)).min();
        state = match next {
            None => shared.changed.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner),
            Some(due) => {
                let waited = shared.changed.wait_timeout(state, due.saturating_sub(now));
                waited.unwrap_or_else(std::sync::PoisonError::into_inner).0
            }
        };
    }
}
