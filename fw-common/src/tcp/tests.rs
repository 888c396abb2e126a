//! Two ends with a lossy, reordering path between them, and the judge in its middle.

use super::*;
use crate::abi::flow::window_flags::{SACK, SCALES};
use crate::wire::parse::tcp_flag::PSH;
use proptest::prelude::*;
use std::vec::Vec;

const ORIGINATOR: Side = Side::Originator;
const RESPONDER: Side = Side::Responder;

/// The judge with what it remembers.
struct Watched {
    state: State,
    ends: [End; 2],
    ignored: IgnoredSyn,
}

impl Watched {
    /// After the originator's first segment.
    fn opened_by(segment: &Segment) -> Self {
        Self { state: State::SynSent, ends: [End::opening(segment), End::default()], ignored: IgnoredSyn::default() }
    }

    fn judge(&mut self, side: Side, segment: &Segment) -> Judgement {
        let [originator, responder] = &mut self.ends;
        let (sender, receiver) = if side == ORIGINATOR { (originator, responder) } else { (responder, originator) };
        let before = (*sender, *receiver);
        let judgement = judge(self.state, side, segment, sender, receiver, &mut self.ignored, false);
        match judgement {
            Judgement::Pass(next) => self.state = next,
            Judgement::Restart => self.state = State::SynReceived,
            // The caller keeps nothing else.
            Judgement::Tolerate | Judgement::Reopen | Judgement::WrongState | Judgement::OutOfWindow => {
                (*sender, *receiver) = before
            }
        }
        judgement
    }
}

fn segment(flags: u8, seq: u32, ack: u32, len: u32) -> Segment {
    let len = len + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    Segment { seq, ack, len, window: 1000, flags, announced: 0, sack: ack }
}

/// A connection whose handshake is done: the originator's next number is 101, the responder's 501.
fn established() -> Watched {
    let mut watched = Watched::opened_by(&segment(SYN, 100, 0, 0));
    assert_eq!(watched.judge(RESPONDER, &segment(SYN | ACK, 500, 101, 0)), Judgement::Pass(State::SynReceived));
    assert_eq!(watched.judge(ORIGINATOR, &segment(ACK, 101, 501, 0)), Judgement::Pass(State::Established));
    watched
}

#[test]
fn a_connection_opens_and_closes() {
    let mut watched = established();
    assert_eq!(watched.judge(ORIGINATOR, &segment(FIN | ACK, 101, 501, 0)), Judgement::Pass(State::FinWait));
    assert_eq!(watched.judge(RESPONDER, &segment(ACK, 501, 102, 0)), Judgement::Pass(State::FinWait), "half closed");
    assert_eq!(watched.judge(RESPONDER, &segment(PSH | ACK, 501, 102, 90)), Judgement::Pass(State::FinWait));
    assert_eq!(watched.judge(RESPONDER, &segment(FIN | ACK, 591, 102, 0)), Judgement::Pass(State::FinWait));
    assert_eq!(watched.judge(ORIGINATOR, &segment(ACK, 102, 592, 0)), Judgement::Pass(State::TimeWait));
    assert_eq!(watched.judge(RESPONDER, &segment(FIN | ACK, 591, 102, 0)), Judgement::Pass(State::TimeWait), "again");
    assert_eq!(watched.judge(ORIGINATOR, &segment(SYN, 9000, 0, 0)), Judgement::Reopen);
}

#[test]
fn what_nobody_may_send() {
    let fins = Fins::default();
    assert_eq!(step(State::SynSent, ORIGINATOR, ACK, fins), Step::Invalid, "nothing to acknowledge yet");
    assert_eq!(step(State::SynSent, ORIGINATOR, SYN | ACK, fins), Step::Invalid);
    assert_eq!(step(State::SynSent, RESPONDER, FIN | ACK, fins), Step::Invalid);
    assert_eq!(step(State::Closed, RESPONDER, ACK, fins), Step::Invalid);
}

#[test]
fn who_has_not_got_the_reset_is_told_again() {
    let mut closed = established();
    assert_eq!(closed.judge(ORIGINATOR, &segment(RST, 101, 0, 0)), Judgement::Pass(State::Closed));
    assert_eq!(closed.judge(RESPONDER, &segment(PSH | ACK, 501, 101, 90)), Judgement::Tolerate);
    assert_eq!(closed.judge(ORIGINATOR, &segment(RST, 101, 0, 0)), Judgement::Tolerate);
    assert_eq!(closed.judge(ORIGINATOR, &segment(RST, 90_101, 0, 0)), Judgement::OutOfWindow);
    assert_eq!(closed.judge(RESPONDER, &segment(ACK, 90_501, 101, 90)), Judgement::OutOfWindow);
    assert_eq!(closed.judge(RESPONDER, &segment(SYN | ACK, 500, 101, 0)), Judgement::Tolerate);
    assert_eq!(closed.state, State::Closed);
    // A refusal is repeated for each repeated SYN that was under way; it has no window.
    let mut refused = Watched::opened_by(&segment(SYN, 100, 0, 0));
    assert_eq!(refused.judge(RESPONDER, &segment(RST | ACK, 0, 101, 0)), Judgement::Pass(State::Closed));
    assert_eq!(refused.judge(RESPONDER, &segment(RST | ACK, 0, 101, 0)), Judgement::Tolerate);
    assert_eq!(refused.judge(RESPONDER, &segment(RST | ACK, 0, 102, 0)), Judgement::OutOfWindow);
    assert_eq!(refused.judge(RESPONDER, &segment(ACK, 1, 101, 0)), Judgement::WrongState);
}

#[test]
fn both_ends_may_forget_their_connection() {
    for state in [State::SynReceived, State::Established, State::FinWait] {
        let mut watched = Watched { state, ..established() };
        assert_eq!(watched.judge(ORIGINATOR, &segment(SYN, 0x7000_0000, 0, 0)), Judgement::Tolerate);
        assert_eq!(watched.state, state);
        // It was not this one that is answered, or not by the other end.
        assert_eq!(watched.judge(RESPONDER, &segment(SYN | ACK, 9000, 0x7000_0002, 0)), Judgement::OutOfWindow);
        assert_eq!(watched.judge(ORIGINATOR, &segment(SYN | ACK, 9000, 0x7000_0001, 0)), Judgement::OutOfWindow);
        assert_eq!(watched.judge(RESPONDER, &segment(SYN | ACK, 9000, 0x7000_0001, 0)), Judgement::Restart);
        assert_eq!(watched.judge(ORIGINATOR, &segment(ACK, 0x7000_0001, 9001, 0)), Judgement::Pass(State::Established));
        assert_eq!(
            watched.judge(RESPONDER, &segment(ACK, 9001, 0x7000_0001, 100)),
            Judgement::Pass(State::Established)
        );
        // An answer counts once.
        assert_ne!(watched.judge(RESPONDER, &segment(SYN | ACK, 77, 0x7000_0001, 0)), Judgement::Restart);
    }
    // What is over is opened by a SYN, which the policy is asked about, and not by the answer to one.
    for state in [State::TimeWait, State::Closed, State::Ended] {
        let mut watched = established();
        assert_eq!(watched.judge(ORIGINATOR, &segment(SYN, 0x7000_0000, 0, 0)), Judgement::Tolerate);
        watched.state = state;
        assert_ne!(watched.judge(RESPONDER, &segment(SYN | ACK, 9000, 0x7000_0001, 0)), Judgement::Restart);
    }
}

#[test]
fn the_responder_opens_nothing_in_a_connection() {
    let mut watched = established();
    assert_eq!(watched.judge(RESPONDER, &segment(SYN, 0x7000_0000, 0, 0)), Judgement::Tolerate);
    assert_eq!(watched.judge(ORIGINATOR, &segment(SYN | ACK, 9000, 0x7000_0001, 0)), Judgement::OutOfWindow);
}

#[test]
fn one_end_may_forget_the_connection() {
    let mut watched = established();
    assert_eq!(watched.judge(ORIGINATOR, &segment(SYN, 0x7000_0000, 0, 0)), Judgement::Tolerate);
    // The responder's challenge, and the reset that it is answered with.
    assert_eq!(watched.judge(RESPONDER, &segment(ACK, 501, 101, 0)), Judgement::Pass(State::Established));
    assert_eq!(watched.judge(ORIGINATOR, &segment(RST, 101, 0, 0)), Judgement::Pass(State::Closed));
    assert_eq!(watched.judge(ORIGINATOR, &segment(SYN, 0x7000_0000, 0, 0)), Judgement::Reopen);
}

#[test]
fn a_syn_with_data_is_repeated_without() {
    let mut watched = Watched::opened_by(&segment(SYN, 100, 0, 400));
    assert_eq!(watched.judge(ORIGINATOR, &segment(SYN, 100, 0, 0)), Judgement::Pass(State::SynSent));
    assert_eq!(watched.judge(RESPONDER, &segment(SYN | ACK, 500, 501, 0)), Judgement::Pass(State::SynReceived));
    // Another attempt, with a number of its own, knows nothing of that data.
    let mut watched = Watched::opened_by(&segment(SYN, 100, 0, 400));
    assert_eq!(watched.judge(ORIGINATOR, &segment(SYN, 50, 0, 0)), Judgement::Pass(State::SynSent));
    assert_eq!(watched.judge(RESPONDER, &segment(SYN | ACK, 500, 501, 0)), Judgement::Pass(State::SynSent), "a stray");
}

#[test]
fn a_responder_may_restart_before_its_answer_is_acknowledged() {
    let mut watched = Watched::opened_by(&segment(SYN, 100, 0, 0));
    assert_eq!(watched.judge(RESPONDER, &segment(SYN | ACK, 500, 101, 0)), Judgement::Pass(State::SynReceived));
    assert_eq!(watched.judge(RESPONDER, &segment(SYN | ACK, 0x9000_0000, 101, 0)), Judgement::Pass(State::SynReceived));
    assert_eq!(watched.judge(RESPONDER, &segment(SYN | ACK, 0x8000_0000, 99, 0)), Judgement::OutOfWindow);
    assert_eq!(watched.judge(ORIGINATOR, &segment(ACK, 101, 501, 0)), Judgement::OutOfWindow);
    assert_eq!(watched.judge(ORIGINATOR, &segment(ACK, 101, 0x9000_0001, 0)), Judgement::Pass(State::Established));
}

#[test]
fn a_window_that_opens_and_one_that_closes() {
    let mut watched = established();
    // The responder closes its window; one byte may probe it (RFC 9293, section 3.8.6.1).
    assert_eq!(watched.judge(ORIGINATOR, &segment(PSH | ACK, 101, 501, 1000)), Judgement::Pass(State::Established));
    let closed = Segment { window: 0, ..segment(ACK, 501, 1101, 0) };
    assert_eq!(watched.judge(RESPONDER, &closed), Judgement::Pass(State::Established));
    assert_eq!(watched.judge(ORIGINATOR, &segment(ACK, 1101, 501, 1)), Judgement::Pass(State::Established));
    assert_eq!(watched.judge(ORIGINATOR, &segment(ACK, 1103, 501, 1)), Judgement::OutOfWindow);
    assert_eq!(watched.judge(RESPONDER, &segment(ACK, 501, 1101, 0)), Judgement::Pass(State::Established));
    assert_eq!(watched.judge(ORIGINATOR, &segment(ACK, 1103, 501, 1)), Judgement::Pass(State::Established));
}

#[test]
fn options_of_one_end_alone_do_not_count() {
    for (announced, reach) in [(SCALES | 4, 16_000), (0, 1000)] {
        let mut watched = Watched::opened_by(&Segment { announced: SCALES | 4, ..segment(SYN, 100, 0, 0) });
        let _ = watched.judge(RESPONDER, &Segment { announced, ..segment(SYN | ACK, 500, 101, 0) });
        let _ = watched.judge(ORIGINATOR, &segment(ACK, 101, 501, 0));
        let _ = watched.judge(RESPONDER, &segment(ACK, 501, 101, 0));
        assert_eq!(watched.judge(ORIGINATOR, &segment(ACK, 101 + reach, 501, 0)), Judgement::Pass(State::Established));
        assert_eq!(watched.judge(ORIGINATOR, &segment(ACK, 103 + reach, 501, 0)), Judgement::OutOfWindow);
    }
    for (announced, expected) in [(SACK, Judgement::OutOfWindow), (0, Judgement::Pass(State::Established))] {
        let mut watched = Watched::opened_by(&Segment { announced: SACK, ..segment(SYN, 100, 0, 0) });
        let _ = watched.judge(RESPONDER, &Segment { announced, ..segment(SYN | ACK, 500, 101, 0) });
        let _ = watched.judge(ORIGINATOR, &segment(ACK, 101, 501, 0));
        assert_eq!(watched.judge(RESPONDER, &Segment { sack: 300, ..segment(ACK, 501, 101, 0) }), expected);
    }
}

#[test]
fn a_repeated_answer_to_a_syn_widens_no_scaled_window() {
    let mut watched = Watched::opened_by(&Segment { announced: SCALES | 7, ..segment(SYN, 100, 0, 0) });
    let answer = Segment { announced: SCALES | 7, window: 60_000, ..segment(SYN | ACK, 500, 101, 0) };
    let _ = watched.judge(RESPONDER, &answer);
    let _ = watched.judge(ORIGINATOR, &segment(ACK, 101, 501, 0));
    let _ = watched.judge(RESPONDER, &Segment { window: 10, ..segment(ACK, 501, 101, 0) });
    let _ = watched.judge(ORIGINATOR, &segment(ACK, 101, 501, 1000));
    assert_eq!(watched.judge(RESPONDER, &answer), Judgement::Pass(State::Established));
    // The window is 60,000 bytes, rounded up to 469 units of 128, not 60,000 units: what is older than that is dropped.
    assert_eq!(
        watched.judge(ORIGINATOR, &segment(ACK, 1101u32.wrapping_sub(60_033), 501, 0)),
        Judgement::Pass(State::Established)
    );
    assert_eq!(watched.judge(ORIGINATOR, &segment(ACK, 1101u32.wrapping_sub(60_034), 501, 0)), Judgement::OutOfWindow);
}

/// An end that behaves: it sends within the other's window, sends again, and acknowledges what it got in order.
#[derive(Clone, Debug)]
struct Host {
    next: u32,
    acknowledged: u32,
    expected: u32,
    /// Bytes that it takes at a time.
    buffer: u32,
    scale: u8,
    peer_edge: u32,
}

impl Host {
    fn announce(&self, flags: u8, seq: u32, len: u32) -> Segment {
        let window = u16::try_from(self.buffer >> self.scale).unwrap_or(u16::MAX);
        Segment { seq, ack: self.expected, len, window, flags, announced: 0, sack: self.expected }
    }

    fn receive(&mut self, segment: &Segment, peer_scale: u8) {
        if segment.seq == self.expected {
            self.expected = segment.end();
        }
        if after(segment.ack, self.acknowledged) {
            self.acknowledged = segment.ack;
        }
        let edge = segment.ack.wrapping_add(u32::from(segment.window) << peer_scale);
        if after(edge, self.peer_edge) {
            self.peer_edge = edge;
        }
    }
}

/// What happens next on the path.
#[derive(Clone, Debug)]
enum Event {
    /// An end sends so many new bytes, as far as it may.
    Send { responder: bool, len: u32 },
    /// An end sends again what was not acknowledged.
    Repeat { responder: bool },
    /// A segment under way to an end arrives (or the one behind it, which overtakes it), is lost, or arrives twice.
    Arrive { responder: bool, overtaken: bool, lost: bool, twice: bool },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        (any::<bool>(), 0u32..3000).prop_map(|(responder, len)| Event::Send { responder, len }),
        any::<bool>().prop_map(|responder| Event::Repeat { responder }),
        (any::<bool>(), any::<bool>(), prop::bool::weighted(0.1), prop::bool::weighted(0.1))
            .prop_map(|(responder, overtaken, lost, twice)| Event::Arrive { responder, overtaken, lost, twice }),
    ];
    proptest::collection::vec(event, 1..200)
}

proptest! {
    /// The judge sits at the sender's side of a path that loses, doubles and reorders what has passed it.
    #[test]
    fn honest_segments_pass(
        events in events(), isn: [u32; 2], buffers in [1u32..200_000, 1u32..200_000], scales in [0u8..4, 0u8..4],
    ) {
        let announced = |side: usize| SCALES | scales[side];
        let syn = Segment { announced: announced(0), ..segment(SYN, isn[0], 0, 0) };
        let mut watched = Watched::opened_by(&syn);
        let first = [isn[0].wrapping_add(1), isn[1].wrapping_add(1)];
        let answer = Segment { announced: announced(1), ..segment(SYN | ACK, isn[1], first[0], 0) };
        prop_assert_eq!(watched.judge(RESPONDER, &answer), Judgement::Pass(State::SynReceived));
        prop_assert_eq!(watched.judge(ORIGINATOR, &segment(ACK, first[0], first[1], 0)), Judgement::Pass(State::Established));
        let mut hosts = [0, 1].map(|own: usize| Host {
            next: first[own],
            acknowledged: first[own],
            expected: first[1 - own],
            buffer: buffers[own],
            scale: scales[own],
            peer_edge: first[own].wrapping_add(1000),
        });
        let mut paths: [Vec<Segment>; 2] = [Vec::new(), Vec::new()];
        for event in events {
            let (own, sent) = match event {
                Event::Send { responder, len } => {
                    let own = usize::from(responder);
                    let host = &mut hosts[own];
                    let room = host.peer_edge.wrapping_sub(host.next);
                    let len = if before(host.peer_edge, host.next) { 0 } else { len.min(room) };
                    let segment = host.announce(ACK, host.next, len);
                    host.next = segment.end();
                    (own, segment)
                }
                Event::Repeat { responder } => {
                    let own = usize::from(responder);
                    let host = &hosts[own];
                    let len = host.next.wrapping_sub(host.acknowledged).min(1460);
                    (own, host.announce(ACK, host.acknowledged, len))
                }
                Event::Arrive { responder, overtaken, lost, twice } => {
                    let to = usize::from(responder);
                    let path = &mut paths[to];
                    if path.is_empty() { continue; }
                    let place = usize::from(overtaken && path.len() > 1);
                    let segment = if twice { path[place] } else { path.remove(place) };
                    if !lost { hosts[to].receive(&segment, scales[1 - to]); }
                    continue;
                }
            };
            let side = if own == 0 { ORIGINATOR } else { RESPONDER };
            prop_assert_eq!(watched.judge(side, &sent), Judgement::Pass(State::Established), "{:?} of {:?}", sent, side);
            paths[1 - own].push(sent);
        }
    }

    #[test]
    fn nothing_is_established_without_the_responder(segments in proptest::collection::vec((0u8..64, any::<u32>(), any::<u32>()), 0..40)) {
        let mut watched = Watched::opened_by(&segment(SYN, 100, 0, 0));
        for (flags, seq, ack) in segments {
            let _ = watched.judge(ORIGINATOR, &segment(flags, seq, ack, 0));
            prop_assert!(matches!(watched.state, State::SynSent | State::Closed));
        }
    }

    /// Who must guess both numbers changes nothing of a connection that idles.
    #[test]
    fn a_guess_changes_no_state(flags in 0u8..64, seq: u32, ack: u32, responder: bool) {
        let mut watched = established();
        let expected = if responder { 501 } else { 101 };
        prop_assume!(seq != expected);
        let _ = watched.judge(if responder { RESPONDER } else { ORIGINATOR }, &segment(flags, seq, ack, 0));
        prop_assert_eq!(watched.state, State::Established);
    }

    #[test]
    fn states_of_other_protocols_never_come_out(number in 0u8..6, responder: bool, flags in 0u8..64, seq: u32, ack: u32) {
        let mut watched = Watched { state: State::from_number(number), ..established() };
        if let Judgement::Pass(next) = watched.judge(if responder { RESPONDER } else { ORIGINATOR }, &segment(flags, seq, ack, 0)) {
            prop_assert!((next as u8) < 6);
        }
    }
}
