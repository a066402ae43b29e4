//! The life of a call.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use airpods_dbus::{Error, ErrorKind, Status};
use futures_lite::future::or;
use zbus::connection::socket::Socket;
use zbus::message::{Flags, Header};
use zbus::names::OwnedUniqueName;
use zbus::{Address, Connection, Signature};
use zruntime::lock::Mutex as Turn;
use zruntime::{Event, SharedRuntime};

use super::inlet::{self, Refusals};
use super::ledger::{Entry, Ledger};
use super::quota::{Prompt, Quota, Slot};
use super::reading::Readings;
use super::{announce, presence};
use crate::authority::{Action, Authority, Caller, Permit, Question, authorise, authorise_at_prompt};
use crate::clamp::Request;
use crate::log::{Line, Log};
use crate::reconcile::{LEAVING, Outcome, Reconciler};

/// How long a call waits for its user's other prompt to be over before it is refused.
const TURN: Duration = Duration::from_secs(1);

/// The longest body of a call in bytes. An honest one has less than 200; what is longer, such as one option a million
/// times, would be kept in memory for as long as a prompt is open.
const LONGEST_BODY: u32 = 4096;

/// What every call shares.
pub struct Service {
    reconciler: Mutex<Reconciler>,
    /// Set once the bus is reached, and before the name is taken.
    authority: OnceLock<Box<dyn Authority>>,
    quota: Quota,
    /// The same for calls that only read: neither kind takes the places of the other.
    reads: Quota,
    readings: Readings,
    ledger: Ledger,
    refusals: Arc<Refusals>,
    log: Log,
    runtime: SharedRuntime,
    /// Signals are sent in turn, so that the last one sent is the last one true.
    announcing: Turn<()>,
    last_call: Mutex<Instant>,
    /// Notified when a call is over.
    call_over: Event,
    /// Notified when the helper leaves.
    leaving: Event,
}

/// What is known about a mutating call so far, for its line in the log.
struct Account {
    action: Action,
    link: String,
    caller: Option<OwnedUniqueName>,
    uid: Option<u32>,
}

impl Service {
    /// A service on top of a reconciler.
    #[must_use]
    pub fn new(reconciler: Reconciler, log: Log, runtime: SharedRuntime) -> Arc<Self> {
        Arc::new(Self {
            reconciler: Mutex::new(reconciler),
            authority: OnceLock::new(),
            quota: Quota::default(),
            reads: Quota::default(),
            readings: Readings::default(),
            ledger: Ledger::default(),
            refusals: Arc::default(),
            log,
            runtime,
            announcing: Turn::new(()),
            last_call: Mutex::new(Instant::now()),
            call_over: Event::new(),
            leaving: Event::new(),
        })
    }

    /// Connects to the bus, and takes in from there what is not too long.
    pub(super) fn connect(&self, bus: &Address) -> io::Result<impl Socket + use<>> {
        inlet::connect(bus, &self.runtime, &self.refusals)
    }

    /// Answers those whose messages were too long, for as long as there is a bus.
    pub async fn refuse(&self, connection: &Connection) -> Infallible {
        loop {
            let refused = self.refusals.next().await;
            let uid = presence::uid(&self.runtime, connection, &refused.sender).await.ok();
            self.note(uid, || {
                let line = Line::warning("message-too-long").with("uid", told(uid)).with("sender", &refused.sender);
                line.with("bytes", refused.length).with("result", ErrorKind::LimitsExceeded.short_name())
            });
            // One who has left needs no answer.
            if let Some(Ok(answer)) = refused.answer() {
                drop(connection.send(&answer).await);
            }
        }
    }

    /// Asks this authority from now on; the first one stays.
    pub(super) fn obey(&self, authority: Box<dyn Authority>) {
        drop(self.authority.set(authority));
    }

    /// The reconciler. Nobody waits for anything while holding it.
    pub fn reconciler(&self) -> MutexGuard<'_, Reconciler> {
        // The reconciler does not panic; should it all the same, its state is read back from the kernel anyway.
        self.reconciler.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one mutating call through its life, and writes its line in the log.
    ///
    /// # Errors
    /// [`Error`], and nothing has changed then.
    pub(super) async fn mutate(
        &self,
        call: Call<'_>,
        action: Action,
        link: &str,
        request: impl FnOnce() -> Result<Request, Error>,
    ) -> Result<bool, Error> {
        let mut account = Account { action, link: shortened(link), caller: None, uid: None };
        let outcome = self.decide(&call, &mut account, request).await;
        self.account_for(&account, &outcome);
        self.announce(call.connection).await;
        self.touch();
        outcome.map(|outcome| outcome.is_some_and(|outcome| outcome.changed))
    }

    /// Writes the line of a call. A change always has one.
    fn account_for(&self, account: &Account, outcome: &Result<Option<Outcome>, Error>) {
        let has_changed = matches!(outcome, Ok(Some(Outcome { changed: true, .. })));
        if has_changed {
            self.log.write(account.line(outcome));
        } else {
            self.note(account.uid, || account.line(outcome));
        }
    }

    /// Writes a line about something without effect, unless its user has had very many.
    fn note(&self, uid: Option<u32>, line: impl FnOnce() -> Line) {
        match self.ledger.enter(uid, Instant::now()) {
            Entry::Whole => self.log.write(line()),
            Entry::After(withheld) => self.log.write(line().with("withheld-before", withheld)),
            Entry::Last => self.log.write(line().with("note", "more such lines of this user are withheld for a while")),
            Entry::Withheld => {}
        }
    }

    /// Quota, validate, nothing to do?, authorise, re-check, commit; `None` if there was nothing to do.
    async fn decide(
        &self,
        call: &Call<'_>,
        account: &mut Account,
        request: impl FnOnce() -> Result<Request, Error>,
    ) -> Result<Option<Outcome>, Error> {
        let name = sender(&call.header)?;
        account.caller = Some(name.clone());
        if call.header.primary().body_len() > LONGEST_BODY {
            return Err(ErrorKind::LimitsExceeded.because(format!("the call has more than {LONGEST_BODY} bytes")));
        }
        let mut slot = self.quota.enter(&name)?;
        let uid = presence::uid(&self.runtime, call.connection, &name).await?;
        account.uid = Some(uid);
        slot.charge(uid)?;

        let request = request()?;
        if !self.reconciler().consider(&request)? {
            return Ok(None);
        }
        let caller = Caller { name: name.clone(), uid };
        let question = Question::about(&call.header, caller, &request)?;
        let permit = or(self.permit(call.connection, &question), self.left()).await?;
        presence::check(&self.runtime, call.connection, &name).await?;
        self.reconciler().commit(permit, &request).map(Some)
    }

    async fn permit(&self, connection: &Connection, question: &Question) -> Result<Permit, Error> {
        let starting = || ErrorKind::AuthUnavailable.because("the helper is still starting; call again in a moment");
        let authority = self.authority.get().ok_or_else(starting)?;
        let tell = |line| self.note(Some(question.caller.uid), || line);
        if let Some(permit) = authorise(authority.as_ref(), question, tell).await? {
            return Ok(permit);
        }
        let _prompt = self.turn_to_prompt(question.caller.uid).await?;
        let gone = async { Err(presence::gone_later(&self.runtime, connection, &question.caller.name).await) };
        or(authorise_at_prompt(authority.as_ref(), question, tell), gone).await
    }

    /// Completes when the helper leaves, which no caller who is being asked for a password holds up.
    async fn left(&self) -> Result<Permit, Error> {
        let leaving = self.leaving.listen();
        if !self.reconciler().is_leaving() {
            leaving.await;
        }
        Err(ErrorKind::ShuttingDown.because(LEAVING))
    }

    /// Waits a moment for the user's other prompt: it is over at once where there is no agent to show it.
    async fn turn_to_prompt(&self, uid: u32) -> Result<Prompt<'_>, Error> {
        let deadline = Instant::now() + TURN;
        loop {
            let over = self.quota.prompt_over.listen();
            if let Some(prompt) = self.quota.open_prompt(uid) {
                return Ok(prompt);
            }
            if self.runtime.timeout_at(deadline, over).await.is_err() {
                return Err(ErrorKind::Busy.because("you are being asked for a password already; answer that first"));
            }
        }
    }

    /// Everything there is to know. Asks nobody.
    ///
    /// # Errors
    /// [`Error`] if the kernel cannot be read, or if there are too many such calls.
    pub(super) async fn status(&self, call: Call<'_>) -> Result<Told<'_>, Error> {
        self.touch();
        if call.header.primary().flags().contains(Flags::NO_REPLY_EXPECTED) {
            return Err(ErrorKind::InvalidArgs.because("the call wants no answer, and has no other effect"));
        }
        let name = sender(&call.header)?;
        let mut place = Place { service: self, slot: Some(self.reads.enter(&name)?) };
        let uid = presence::uid(&self.runtime, call.connection, &name).await?;
        place.slot.as_mut().map_or(Ok(()), |slot| slot.charge(uid))?;
        let read = || self.reconciler().status(Instant::now());
        let status = self.readings.next(read, |until| self.rest(until)).await?;
        Ok(Told { status, _place: place })
    }

    /// Waits until then, or until the helper leaves: whoever has called by then is to have an answer.
    async fn rest(&self, until: Instant) {
        let leaving = self.leaving.listen();
        if !self.reconciler().is_leaving() {
            // Either way there is no more to wait for.
            let _ = self.runtime.timeout_at(until, leaving).await;
        }
    }

    /// How many calls are in flight.
    fn in_flight(&self) -> usize {
        self.quota.in_flight() + self.reads.in_flight()
    }

    /// Sends the signals that are due.
    pub async fn announce(&self, connection: &Connection) {
        let _turn = self.announcing.lock().await;
        let news = self.reconciler().news(Instant::now());
        if let Some((before, now)) = news
            && let Err(error) = announce::changed(connection, &before, &now).await
        {
            self.log.write(Line::warning("signal-not-sent").with("cause", error));
        }
    }

    /// Notes that somebody has use for the helper.
    pub(super) fn touch(&self) {
        *self.last_call.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.call_over.notify(usize::MAX);
    }

    /// From now on nothing is changed for callers any more, and nobody is asked for a password.
    pub fn leave(&self) {
        self.reconciler().leave();
        self.leaving.notify(usize::MAX);
    }

    /// Completes when nothing has been asked for and nobody has called for this long, and leaves no way back: no call
    /// changes anything any more.
    pub async fn unused_for(&self, patience: Duration) {
        loop {
            let call_over = self.call_over.listen();
            let last = *self.last_call.lock().unwrap_or_else(PoisonError::into_inner);
            let is_unused = self.in_flight() == 0 && self.reconciler().is_idle();
            if !is_unused {
                call_over.await;
            } else if last.elapsed() >= patience {
                self.leave();
                return;
            } else {
                // Either way it is looked at again.
                let _ = self.runtime.timeout_at(last + patience, call_over).await;
            }
        }
    }

    /// Completes when no call is in flight.
    pub async fn calls_over(&self) {
        loop {
            let call_over = self.call_over.listen();
            if self.in_flight() == 0 {
                return;
            }
            call_over.await;
        }
    }
}

/// A method call as it came in.
pub(super) struct Call<'a> {
    pub(super) header: Header<'a>,
    pub(super) connection: &'a Connection,
}

/// The place of a call that reads, until it is dropped.
struct Place<'a> {
    service: &'a Service,
    slot: Option<Slot<'a>>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        drop(self.slot.take());
        self.service.touch();
    }
}

/// A status on its way to a caller. The call's place is taken until it has been sent, so that answers which wait for the bus to
/// take them are bounded, too.
pub(super) struct Told<'a> {
    status: Arc<Status>,
    _place: Place<'a>,
}

impl serde::Serialize for Told<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.status.serialize(serializer)
    }
}

impl zbus::Type for Told<'_> {
    const SIGNATURE: &'static Signature = Status::SIGNATURE;
}

impl Account {
    /// The one line of this call: who wanted what, and what came of it.
    fn line(&self, outcome: &Result<Option<Outcome>, Error>) -> Line {
        let line = match outcome {
            Ok(_) => Line::info(self.action.operation()),
            Err(_) => Line::warning(self.action.operation()),
        };
        let line = line
            .with("uid", told(self.uid))
            .with("sender", told(self.caller.as_ref()))
            .with("action", self.action.id())
            .with("link", &self.link);
        match outcome {
            Ok(Some(Outcome { changed: true, change })) => line.with("result", "changed").with("detail", change),
            Ok(_) => line.with("result", "unchanged"),
            Err(error) => line.with("result", error.kind().short_name()).with("detail", error),
        }
    }
}

fn sender(header: &Header<'_>) -> Result<OwnedUniqueName, Error> {
    let sender = header.sender().map(|sender| sender.to_owned().into());
    sender.ok_or_else(|| ErrorKind::AccessDenied.because("the call has no sender, so nobody answers for it"))
}

/// What is known, or that it is not.
fn told(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| value.to_string())
}

/// A caller's text, cut to what a log line needs; the line itself escapes it.
fn shortened(text: &str) -> String {
    text.chars().take(32).collect()
}
