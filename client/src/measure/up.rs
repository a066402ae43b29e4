//! Measures how large a packet of ours arrives: a train of growing packets on one connection, and
//! two small ones behind them. Pure: observations of a connection in, actions out.
//!
//! The acknowledgement is cumulative, so it shows the largest size before the first missing one. If
//! SACK shows that the small packets behind arrived, the hole is a matter of size.

use std::time::Duration;

use super::down::{BASE, base};
use super::exchange::{Action, Answer, ConnectionSummary, Exchange, Observation, Opening, hello};
use super::loss::Loss;
use super::train::{Head, Record, Train};

/// How a train ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UpEnding {
    /// Every size arrived.
    All,
    /// One size is missing, and what is behind it arrived.
    Hole,
    /// The kernel's path MTU fell: a router reported it.
    Reported,
    /// Nothing passes any more, small packets included.
    Cut,
    /// The server ended the connection before the train could leave.
    Early,
    /// The kernel did not send each write as one packet.
    Split,
    /// The connection ended in a way that shows nothing about sizes.
    Unclear,
}

/// The outcome of one connection up.
#[expect(clippy::struct_excessive_bools, reason = "each is an observation of its own, and all combinations occur")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UpOutcome {
    /// How it ended.
    pub(super) ending: UpEnding,
    /// The largest packet that was sent once as a whole and acknowledged.
    pub(super) proven: Option<u16>,
    /// The size at the head of the queue, which did not arrive.
    pub(super) failed: Option<u16>,
    /// That size was sent at least three times, twice by the retransmission timer.
    pub(super) strict: bool,
    /// The largest size in the train.
    pub(super) asked: u16,
    /// The largest packet that the kernel sends, if that is less than was asked for.
    pub(super) limit: Option<u16>,
    /// The limit is a path MTU that the kernel had learnt before, not the server's MSS.
    pub(super) learnt: bool,
    /// The path MTU that a router reported to the kernel during the train.
    pub(super) reported: Option<u16>,
    /// Findings leave it out ([`Up::early`]).
    pub(super) early: bool,
    /// The server sends SACK blocks.
    pub(super) sack: bool,
    /// The lost segments. `None` if segments overtook each other, because TCP then repeats some
    /// that were not lost.
    pub(super) loss: Option<Loss>,
    /// The server's behaviour on the connection.
    pub(super) summary: ConnectionSummary,
}

/// One connection with a train.
#[expect(clippy::struct_excessive_bools, reason = "each is an observation of its own, and all combinations occur")]
#[derive(Clone, Debug)]
pub(super) struct Up {
    pub(super) exchange: Exchange,
    name: Option<String>,
    sizes: Vec<u16>,
    cap: u16,
    strict: bool,
    record: Record,
    early: bool,
    tied: bool,
    train: Option<Train>,
    limit: Option<u16>,
    learnt: bool,
    reported: Option<u16>,
    ending: Option<UpEnding>,
    failed: Option<u16>,
    failed_strictly: bool,
    answers_after: Duration,
}

impl Up {
    /// A connection with a train of these sizes. With `strict` it waits until a missing packet was
    /// sent three times.
    pub(super) fn new(ipv6: bool, name: Option<&str>, sizes: &[u16], strict: bool) -> Self {
        let mut sizes = sizes.to_vec();
        sizes.sort_unstable();
        Self {
            exchange: Exchange { ipv6, ..Exchange::default() },
            name: name.map(str::to_owned),
            // With this as the bound on what is sent, two packets of the train never fit into one
            // when they are retransmitted.
            cap: sizes.last().copied().unwrap_or(BASE),
            sizes,
            strict,
            record: Record::Data,
            early: false,
            tied: false,
            train: None,
            limit: None,
            learnt: false,
            reported: None,
            ending: None,
            failed: None,
            failed_strictly: false,
            answers_after: Duration::ZERO,
        }
    }

    /// One packet of the largest size, in a hello that needs no answer. It shows that a path may be
    /// good one round trip before a train does. It is no evidence: some paths carry one large
    /// packet and stall later.
    pub(super) fn early(ipv6: bool, name: Option<&str>, size: u16) -> Self {
        Self { record: Record::Hello, early: true, ..Self::new(ipv6, name, &[size], false) }
    }

    pub(super) fn is_early(&self) -> bool {
        self.early
    }

    /// Waits longer for the first byte, for a server that has needed this long before.
    pub(super) fn with_answer_time(self, answers_after: Duration) -> Self {
        Self { answers_after, ..self }
    }

    /// Begins the train with another kind of record.
    pub(super) fn beginning_with(self, record: Record) -> Self {
        Self { record, ..self }
    }

    /// Announces as much as it sends, for kernels that cannot set the two apart.
    pub(super) fn tied(self, tied: bool) -> Self {
        Self { tied, ..self }
    }

    pub(super) fn opening(&self) -> Opening {
        let announced = if self.tied { self.cap } else { base(self.exchange.ipv6) };
        Opening { announced: Some(announced), sent: Some(self.cap) }
    }

    /// Whether its largest packet has arrived whole, with everything before it.
    pub(super) fn is_full(&self) -> bool {
        let proven = self.train.as_ref().and_then(|train| train.proven);
        self.ending == Some(UpEnding::All) && proven == Some(self.cap)
    }

    /// Whether a router has reported a path MTU.
    pub(super) fn is_reported(&self) -> bool {
        self.reported.is_some()
    }

    /// The action after an observation.
    pub(super) fn step(&mut self, seen: &Observation, new: &[u8]) -> Action {
        if !self.exchange.take(seen, new) {
            return if self.exchange.error.is_some() { self.end_with_error() } else { Action::Wait };
        }
        if self.train.is_none()
            && let Some(action) = self.prepare(seen)
        {
            return action;
        }
        let Some(mut train) = self.train.take() else { return Action::Wait };
        let action = self.drive(&mut train, seen);
        self.train = Some(train);
        action
    }

    fn end(&mut self, ending: UpEnding) -> Action {
        self.ending = Some(ending);
        Action::End
    }

    fn end_with_error(&mut self) -> Action {
        let early = self.train.is_none() && self.exchange.was_reset();
        self.end(if early { UpEnding::Early } else { UpEnding::Unclear })
    }

    /// The hello and its answer before the train; `None` once the train may begin.
    fn prepare(&mut self, seen: &Observation) -> Option<Action> {
        if self.record == Record::Data {
            if self.exchange.hello_at.is_none() {
                let hello = hello(self.name.as_deref(), 0);
                self.exchange.hello_at = Some(seen.now);
                self.exchange.hello_length = hello.len() as u64;
                return Some(Action::Send(hello));
            }
            let rtt = self.exchange.rtt();
            match self.exchange.answer() {
                Answer::None | Answer::Tls if self.exchange.closed => return Some(self.end(UpEnding::Early)),
                Answer::None => {
                    let timeout = Duration::from_millis(1500).max(rtt * 6) + self.answers_after * 3 + seen.slack;
                    let late = self.exchange.quiet_for() > timeout;
                    return Some(if late { self.end(UpEnding::Unclear) } else { Action::Wait });
                }
                Answer::Alert => return Some(self.end(UpEnding::Early)),
                Answer::NotTls => return Some(self.end(UpEnding::Unclear)),
                Answer::Tls => {}
            }
            // The train waits until the answer pauses: data that arrives out of order meanwhile
            // would put SACK blocks into our packets.
            if self.exchange.quiet_for() < Duration::from_millis(12).max(rtt / 5) {
                return Some(Action::Wait);
            }
        }
        // Data that is still unacknowledged would count as part of the train.
        if self.exchange.info.unacked > 0 {
            return Some(Action::Wait);
        }
        let train = self.train(seen.now);
        let is_empty = train.sizes.is_empty();
        self.train = Some(train);
        is_empty.then(|| self.end(UpEnding::Unclear))
    }

    fn train(&mut self, now: Duration) -> Train {
        let headers = self.exchange.headers();
        let ceiling = self.ceiling();
        let mut sizes: Vec<u16> = self.sizes.iter().copied().filter(|size| *size > headers).collect();
        let asked = sizes.last().copied().unwrap_or_default();
        if asked > ceiling {
            self.limit = Some(ceiling);
            self.learnt = self.exchange.info.pmtu <= u32::from(ceiling);
            sizes.retain(|size| *size < ceiling);
            sizes.push(ceiling);
        }
        Train {
            acked_before: self.exchange.info.bytes_acked,
            sent_again_before: self.exchange.info.total_retrans,
            ceiling,
            early_before: self.exchange.info.rcv_ooopack,
            may_carry_sack: self.exchange.info.rcv_ooopack > 0 && !self.exchange.is_whole(),
            head: Head { sent_again_before: self.exchange.info.total_retrans, ..Head::default() },
            ..Train::new(sizes, headers, self.record, now)
        }
    }

    /// The largest packet that the kernel sends now.
    fn ceiling(&self) -> u16 {
        let info = &self.exchange.info;
        let segment = info.snd_mss + u32::from(self.exchange.headers());
        u16::try_from(segment.min(info.pmtu)).unwrap_or(u16::MAX)
    }

    fn drive(&mut self, train: &mut Train, seen: &Observation) -> Action {
        let info = self.exchange.info;
        train.count(info.data_segs_out, info.total_retrans, info.notsent);
        let ceiling = self.ceiling();
        if ceiling < train.ceiling {
            // Data that is acknowledged from now on may have been cut into smaller packets.
            train.ceiling = ceiling;
            self.reported = u16::try_from(info.pmtu).ok().filter(|pmtu| *pmtu <= ceiling);
        }
        // Packets that arrived out of order since then may have put SACK blocks into ours, whose
        // sizes then differ from the planned ones.
        train.may_carry_sack |= info.rcv_ooopack > train.early_before;
        let acked = info.bytes_acked.saturating_sub(train.acked_before);
        let arrived = train.ends.iter().take_while(|end| **end <= acked).count();
        train.prove(arrived, &info);
        if let Some(missing) = train.sizes.get(arrived) {
            self.failed = Some(*missing);
        }
        if self.reported.is_some() {
            return self.end(UpEnding::Reported);
        }
        if train
            .whole
            .iter()
            .take(train.sent.saturating_sub(usize::from(train.uncounted.is_some())))
            .any(|whole| !whole)
        {
            return self.end(UpEnding::Split);
        }
        if arrived >= train.sizes.len() && train.sent >= train.sizes.len() {
            return self.end(UpEnding::All);
        }
        if self.exchange.closed {
            return self.end(UpEnding::Unclear);
        }
        if let Some(chunk) = train.next(&info, seen.now) {
            return Action::Send(chunk);
        }
        // One small packet behind is enough: with short round trips, the kernel may hold the other
        // one back for long.
        let unsent = train.sent <= train.sizes.len();
        let stuck = Duration::from_secs(4).max(self.exchange.rtt() * 12) + seen.slack;
        if seen.now.saturating_sub(train.sent_at) > stuck {
            return self.give_up(train, unsent || info.sacked == 0, arrived);
        }
        if unsent { Action::Wait } else { self.watch_head(train, acked, arrived, seen) }
    }

    fn give_up(&mut self, train: &Train, cut: bool, arrived: usize) -> Action {
        if cut || train.may_carry_sack || arrived >= train.sizes.len() {
            return self.end(if cut { UpEnding::Cut } else { UpEnding::Unclear });
        }
        self.end(UpEnding::Hole)
    }

    /// Everything is sent: decides whether the first missing packet stays missing.
    fn watch_head(&mut self, train: &mut Train, acked: u64, arrived: usize, seen: &Observation) -> Action {
        let info = &self.exchange.info;
        let (rtt, head) = (self.exchange.rtt(), &mut train.head);
        if head.acked != acked {
            *head = Head { acked, sent_again_before: info.total_retrans, ..Head::default() };
        }
        if info.total_retrans > head.sent_again_before {
            head.sent_again_at.get_or_insert(seen.now);
        }
        if info.retransmits < 2 {
            head.twice_by_timer_at = None;
        } else {
            head.twice_by_timer_at.get_or_insert(seen.now);
        }
        let passed = |since: Option<Duration>, wait: Duration| {
            since.is_some_and(|since| seen.now.saturating_sub(since) > wait + Duration::from_millis(30) + seen.slack)
        };
        // One round trip and a margin: time for the acknowledgement of the retransmission.
        let strictly = passed(head.twice_by_timer_at, rtt * 13 / 10);
        // Without SACK the small packets behind cannot be seen to arrive. Packets that arrived
        // earlier on this connection have to do.
        let behind = if info.has_sack() { info.sacked > 0 } else { arrived > 0 && info.retransmits >= 2 };
        let quickly = !self.strict && info.has_sack() && passed(head.sent_again_at, rtt * 3 / 2);
        if behind && (strictly || quickly) {
            self.failed_strictly = strictly;
            return self.give_up(train, false, arrived);
        }
        // Not even the small packets behind arrive, so size is not the cause.
        let hopeless = info.sacked == 0
            && info.retransmits >= 3
            && seen.now.saturating_sub(train.sent_at) > Duration::from_secs(1);
        if hopeless { self.end(UpEnding::Cut) } else { Action::Wait }
    }

    /// Notes that the write of an [`Action::Send`] is about to be made.
    pub(super) fn sending(&mut self) {
        let info = self.exchange.info;
        if let Some(train) = &mut self.train {
            train.uncounted = Some((info.data_segs_out, info.total_retrans));
            train.sent += 1;
            train.sent_at = self.exchange.seen_at;
        }
    }

    /// The outcome. A connection without an ending of its own ran out of time.
    pub(super) fn outcome(self) -> UpOutcome {
        let ending = self.ending.unwrap_or(UpEnding::Unclear);
        let info = self.exchange.info;
        // A lost SYN is no lost packet of the train.
        let before = self.train.as_ref().map_or(info.total_retrans, |train| train.sent_again_before);
        UpOutcome {
            ending,
            proven: self.train.as_ref().and_then(|train| train.proven),
            failed: self.failed.filter(|_| ending == UpEnding::Hole),
            strict: self.failed_strictly,
            asked: self.cap,
            limit: self.limit,
            learnt: self.learnt,
            reported: self.reported,
            early: self.early,
            sack: info.has_sack(),
            loss: (info.reord_seen == 0).then_some(Loss {
                sent: info.data_segs_out,
                repeated: info.total_retrans.saturating_sub(before + info.dsack_dups),
            }),
            summary: self.exchange.summary(),
        }
    }
}
