//! Which packets a capture wants. The program asks for each packet; so does the agent, of frames that the program has not parsed.

use crate::abi::capture::{CaptureFilter, capture_conditions};
use crate::wire::{Address, Packet};
use crate::{DropReason, Verdict};

/// Whether a packet is wanted about which this was decided; `None` if it could not be parsed as far as its addresses.
#[inline(always)]
#[must_use]
pub fn wants(filter: &CaptureFilter, packet: Option<&Packet>, verdict: Verdict) -> bool {
    wants_verdict(filter, verdict) && wants_packet(filter, packet)
}

#[inline(always)]
fn wants_verdict(filter: &CaptureFilter, verdict: Verdict) -> bool {
    let reason: Option<DropReason> = match verdict {
        Verdict::Drop(reason) => Some(reason),
        Verdict::Pass | Verdict::Forward | Verdict::HandOver => None,
    };
    let unwanted = match reason {
        Some(reason) => {
            filter.conditions & capture_conditions::ALLOWED != 0
                || (filter.conditions & capture_conditions::REASON != 0 && reason as u8 != filter.reason)
        }
        None => filter.conditions & (capture_conditions::DENIED | capture_conditions::REASON) != 0,
    };
    !unwanted
}

/// Whether a packet is wanted, whatever is decided about it.
#[inline(always)]
#[must_use]
pub fn wants_packet(filter: &CaptureFilter, packet: Option<&Packet>) -> bool {
    let by_protocol = filter.conditions & capture_conditions::PROTOCOL != 0;
    let Some(packet) = packet else {
        return !by_protocol && filter.family == 0 && filter.port == 0;
    };
    (!by_protocol || packet.protocol == filter.protocol)
        && (filter.port == 0 || packet.src_port == filter.port || packet.dst_port == filter.port)
        && (filter.family == 0 || is_within(filter, &packet.src_addr) || is_within(filter, &packet.dst_addr))
}

#[inline(always)]
fn is_within(filter: &CaptureFilter, addr: &Address) -> bool {
    let words = addr.words();
    let mut same = addr.family == filter.family;
    let mut at = 0;
    while at < words.len() {
        same &= words[at] & filter.mask[at] == filter.addr[at];
        at += 1;
    }
    same
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> Packet {
        let mut packet = Packet::EMPTY;
        packet.src_addr = Address::v4([10, 1, 1, 50]);
        packet.dst_addr = Address::v4([10, 2, 1, 20]);
        packet.protocol = 6;
        (packet.src_port, packet.dst_port) = (4000, 502);
        packet
    }

    fn of_prefix(addr: Address, mask: [u8; 4]) -> CaptureFilter {
        let [mask, ..] = Address::v4(mask).words();
        CaptureFilter { addr: addr.words(), mask: [mask, 0, 0, 0], family: addr.family, ..CaptureFilter::default() }
    }

    #[test]
    fn without_conditions_everything_is_wanted() {
        let filter = CaptureFilter::default();
        assert!(wants(&filter, Some(&packet()), Verdict::Forward));
        assert!(wants(&filter, None, Verdict::Drop(DropReason::Ethertype)));
    }

    #[test]
    fn either_end_may_lie_in_the_prefix() {
        let forward = |filter: CaptureFilter| wants(&filter, Some(&packet()), Verdict::Forward);
        assert!(forward(of_prefix(Address::v4([10, 2, 0, 0]), [255, 255, 0, 0])));
        assert!(forward(of_prefix(Address::v4([10, 1, 1, 50]), [255; 4])));
        assert!(!forward(of_prefix(Address::v4([10, 3, 0, 0]), [255, 255, 0, 0])));
        assert!(!forward(CaptureFilter { family: 6, ..CaptureFilter::default() }));
        let unparsed = of_prefix(Address::v4([10, 1, 1, 50]), [255; 4]);
        assert!(!wants(&unparsed, None, Verdict::Drop(DropReason::Truncated)));
    }

    #[test]
    fn ports_and_protocols_must_agree() {
        let with = |port, protocol| CaptureFilter {
            port,
            protocol,
            conditions: capture_conditions::PROTOCOL,
            ..CaptureFilter::default()
        };
        for (filter, wanted) in
            [(with(502, 6), true), (with(4000, 6), true), (with(503, 6), false), (with(502, 17), false)]
        {
            assert_eq!(wants_packet(&filter, Some(&packet())), wanted, "{filter:?}");
        }
    }

    #[test]
    fn a_reason_wants_what_was_dropped_for_it() {
        let filter = CaptureFilter {
            reason: DropReason::Policy as u8,
            conditions: capture_conditions::REASON,
            ..CaptureFilter::default()
        };
        assert!(wants(&filter, None, Verdict::Drop(DropReason::Policy)));
        assert!(!wants(&filter, None, Verdict::Drop(DropReason::Rejected)));
        assert!(!wants(&filter, None, Verdict::Forward));
        let denied = CaptureFilter { conditions: capture_conditions::DENIED, ..CaptureFilter::default() };
        assert!(!wants(&denied, None, Verdict::Pass) && wants(&denied, None, Verdict::Drop(DropReason::Land)));
        let allowed = CaptureFilter { conditions: capture_conditions::ALLOWED, ..CaptureFilter::default() };
        assert!(wants(&allowed, None, Verdict::Pass) && !wants(&allowed, None, Verdict::Drop(DropReason::Land)));
    }
}
