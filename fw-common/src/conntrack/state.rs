//! The states of flows, and how long a flow may idle in each.

/// State of a flow. The numbers are those of [`crate::abi::flow::Flow::state`] and index [`Timeouts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum State {
    /// TCP: a SYN has passed.
    SynSent = 0,
    /// TCP: the responder's SYN+ACK has passed.
    SynReceived = 1,
    /// TCP: the handshake is complete.
    Established = 2,
    /// TCP: one side has sent FIN.
    FinWait = 3,
    /// TCP: both sides have sent FIN, and the last acknowledgement is out.
    TimeWait = 4,
    /// TCP: reset. SCTP: aborted.
    Closed = 5,
    /// UDP: only the originator has sent.
    UdpNew = 6,
    /// UDP: both sides have sent.
    UdpReplied = 7,
    /// ICMP query, with or without its reply.
    Icmp = 8,
    /// Any other protocol.
    Other = 9,
    /// SCTP: an INIT has passed, and perhaps its INIT ACK.
    SctpCookieWait = 10,
    /// SCTP: the cookie has been given back.
    SctpCookieEchoed = 11,
    /// SCTP: the cookie is acknowledged, or both ends of an association have been heard that was not seen from its beginning.
    SctpEstablished = 12,
    /// SCTP: the originator has sent SHUTDOWN.
    SctpShutdownSent = 13,
    /// SCTP: the responder has sent SHUTDOWN.
    SctpShutdownReceived = 14,
    /// SCTP: the SHUTDOWN is acknowledged.
    SctpShutdownAckSent = 15,
    /// SCTP: shut down by both ends.
    SctpClosed = 16,
    /// SCTP: one end has been heard of an association that was not seen from its beginning: by a HEARTBEAT on another path
    /// of it, or by anything if associations are picked up.
    SctpHeartbeatSent = 17,
    /// Ended by a new policy: nothing belongs to it any more.
    Ended = 18,
}

impl State {
    /// Every state that a flow lives in, in the order of its number.
    pub const ALL: [Self; 18] = [
        Self::SynSent,
        Self::SynReceived,
        Self::Established,
        Self::FinWait,
        Self::TimeWait,
        Self::Closed,
        Self::UdpNew,
        Self::UdpReplied,
        Self::Icmp,
        Self::Other,
        Self::SctpCookieWait,
        Self::SctpCookieEchoed,
        Self::SctpEstablished,
        Self::SctpShutdownSent,
        Self::SctpShutdownReceived,
        Self::SctpShutdownAckSent,
        Self::SctpClosed,
        Self::SctpHeartbeatSent,
    ];

    /// The name that `fwctl flows` and logs show.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SynSent => "syn-sent",
            Self::SynReceived => "syn-received",
            Self::Established => "established",
            Self::FinWait => "fin-wait",
            Self::TimeWait => "time-wait",
            Self::Closed => "closed",
            Self::UdpNew => "udp-new",
            Self::UdpReplied => "udp-replied",
            Self::Icmp => "icmp",
            Self::Other => "other",
            Self::SctpCookieWait => "sctp-cookie-wait",
            Self::SctpCookieEchoed => "sctp-cookie-echoed",
            Self::SctpEstablished => "sctp-established",
            Self::SctpShutdownSent => "sctp-shutdown-sent",
            Self::SctpShutdownReceived => "sctp-shutdown-received",
            Self::SctpShutdownAckSent => "sctp-shutdown-ack-sent",
            Self::SctpClosed => "sctp-closed",
            Self::SctpHeartbeatSent => "sctp-heartbeat-sent",
            Self::Ended => "ended",
        }
    }

    /// Whether data flows in this state, so that a rule's idle time-out applies.
    #[inline(always)]
    #[must_use]
    pub const fn carries_data(self) -> bool {
        matches!(
            self,
            Self::Established | Self::UdpNew | Self::UdpReplied | Self::Icmp | Self::Other | Self::SctpEstablished
        )
    }

    /// Reads [`crate::abi::flow::Flow::state`]; an unknown number is [`State::Closed`], the state that lives shortest.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::SynSent,
            1 => Self::SynReceived,
            2 => Self::Established,
            3 => Self::FinWait,
            4 => Self::TimeWait,
            6 => Self::UdpNew,
            7 => Self::UdpReplied,
            8 => Self::Icmp,
            9 => Self::Other,
            10 => Self::SctpCookieWait,
            11 => Self::SctpCookieEchoed,
            12 => Self::SctpEstablished,
            13 => Self::SctpShutdownSent,
            14 => Self::SctpShutdownReceived,
            15 => Self::SctpShutdownAckSent,
            16 => Self::SctpClosed,
            17 => Self::SctpHeartbeatSent,
            18 => Self::Ended,
            _ => Self::Closed,
        }
    }
}

/// Idle time-outs in seconds, indexed by [`State`]; part of the configuration map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// One per state; the last is padding. [`State::Ended`] has none.
    pub seconds: [u32; 20],
}

impl Default for Timeouts {
    /// As nf_conntrack (net/netfilter/nf_conntrack_proto_*.c), except for established TCP: 24 hours, because an idle
    /// session of a PLC must not die silently.
    fn default() -> Self {
        let mut seconds = [30; 20];
        seconds[State::SynSent as usize] = 120;
        seconds[State::SynReceived as usize] = 60;
        seconds[State::Established as usize] = 24 * 3600;
        seconds[State::FinWait as usize] = 120;
        seconds[State::TimeWait as usize] = 120;
        seconds[State::Closed as usize] = 10;
        seconds[State::UdpNew as usize] = 30;
        seconds[State::UdpReplied as usize] = 120;
        seconds[State::Icmp as usize] = 30;
        seconds[State::Other as usize] = 600;
        // A heartbeat comes every 30 seconds on a path that idles (RFC 9260, section 16).
        seconds[State::SctpEstablished as usize] = 210;
        seconds[State::SctpCookieWait as usize] = 3;
        seconds[State::SctpCookieEchoed as usize] = 3;
        seconds[State::SctpShutdownSent as usize] = 3;
        seconds[State::SctpShutdownReceived as usize] = 3;
        seconds[State::SctpShutdownAckSent as usize] = 3;
        seconds[State::SctpClosed as usize] = 10;
        seconds[State::SctpHeartbeatSent as usize] = 30;
        seconds[State::Ended as usize] = 0;
        Self { seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_keep_their_numbers() {
        for (position, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, position);
            assert_eq!(State::from_number(state as u8), state);
        }
        assert_eq!(State::from_number(State::Ended as u8), State::Ended);
        assert_eq!(State::from_number(200), State::Closed);
    }

    #[test]
    fn idle_plc_sessions_live_a_day() {
        assert_eq!(Timeouts::default().seconds[State::Established as usize], 86_400);
    }
}
