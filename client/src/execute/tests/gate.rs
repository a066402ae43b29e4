//! The gate before the first container starts.

use std::cell::Cell;
use std::rc::Rc;

use super::*;

/// A gate that records podman's state when it is asked, and then settles as the test wants.
struct Watched<'a> {
    podman: &'a Simulated,
    needed: bool,
    refuses: bool,
    /// Completing it ends the wait in `is_needed`.
    answer: Option<Rc<tokio::sync::Notify>>,
    asked: Cell<u32>,
    seen: RefCell<Vec<Objects>>,
}

impl<'a> Watched<'a> {
    fn new(podman: &'a Simulated) -> Self {
        Self { podman, needed: true, refuses: false, answer: None, asked: Cell::new(0), seen: RefCell::default() }
    }
}

impl Gate for Watched<'_> {
    async fn is_needed(&self) -> bool {
        self.asked.set(self.asked.get() + 1);
        self.seen.borrow_mut().push(self.podman.objects());
        if let Some(answer) = &self.answer {
            answer.notified().await;
        }
        self.needed
    }

    async fn settle(&self, interrupt: impl Future<Output = ()>) -> Result<(), Interrupted> {
        if !self.refuses {
            return Ok(());
        }
        // Behaves like a question without an answer.
        interruptible(std::pin::pin!(interrupt), pending()).await
    }
}

async fn run_gated(podman: &Simulated, gate: &impl Gate, polls: Option<u32>) -> Result<Outcome, Aborted> {
    let plan = prepared(podman, THREE).await;
    match polls {
        Some(polls) => execute_until(podman, &plan, &PACE, &Silent, gate, after_polls(polls), pending()).await,
        None => execute_until(podman, &plan, &PACE, &Silent, gate, pending(), pending()).await,
    }
}

fn running(objects: &Objects) -> usize {
    objects.containers.values().filter(|(_, state)| *state == ContainerState::Running).count()
}

#[tokio::test]
async fn the_gate_is_asked_once_when_a_container_is_made_and_none_runs() {
    let podman = podman(NEW);
    let gate = Watched::new(&podman);
    run_gated(&podman, &gate, None).await.unwrap();
    assert_eq!((gate.asked.get(), running(&podman.objects())), (1, 3));
    let seen = gate.seen.borrow();
    assert!(!seen[0].containers.is_empty() && running(&seen[0]) == 0, "{:?}", seen[0]);
}

#[tokio::test]
async fn everything_that_comes_before_a_start_goes_on_while_the_gate_waits() {
    struct Opens(Rc<tokio::sync::Notify>, Cell<u32>);
    impl Progress for Opens {
        fn event(&self, event: &Event<'_>) {
            if let Event::Finished { step: Step { action: Action::CreateContainer(_), .. }, .. } = event {
                self.1.set(self.1.get() + 1);
                if self.1.get() == 3 {
                    self.0.notify_one();
                }
            }
        }
    }
    let podman = podman(NEW);
    let answer = Rc::new(tokio::sync::Notify::new());
    let gate = Watched { answer: Some(Rc::clone(&answer)), ..Watched::new(&podman) };
    let plan = prepared(&podman, THREE).await;
    let progress = Opens(answer, Cell::new(0));
    // This would hang if the third container waited for the gate.
    let ran = execute_until(&podman, &plan, &PACE, &progress, &gate, pending(), pending());
    tokio::time::timeout(Duration::from_secs(60), ran).await.unwrap().unwrap();
    assert_eq!(running(&podman.objects()), 3);
}

#[tokio::test]
async fn progress_stops_only_while_something_is_settled() {
    struct Pauses(RefCell<Vec<&'static str>>);
    impl Progress for Pauses {
        fn event(&self, event: &Event<'_>) {
            match event {
                Event::Paused => self.0.borrow_mut().push("paused"),
                Event::Resumed => self.0.borrow_mut().push("resumed"),
                Event::Finished { step: Step { action: Action::Start { .. }, .. }, .. } => {
                    self.0.borrow_mut().push("started");
                }
                _ => {}
            }
        }
    }
    for (needed, expected) in [(true, vec!["paused", "resumed", "started"]), (false, vec!["started"])] {
        let podman = podman(NEW);
        let gate = Watched { needed, ..Watched::new(&podman) };
        let progress = Pauses(RefCell::default());
        let plan = prepared(&podman, THREE).await;
        execute_until(&podman, &plan, &PACE, &progress, &gate, pending(), pending()).await.unwrap();
        assert_eq!(progress.0.borrow()[..expected.len()], expected);
    }
}

#[tokio::test]
async fn an_interrupt_while_the_gate_waits_or_asks_leaves_podman_as_it_was() {
    let mut asked = 0;
    for refuses in [true, false] {
        for polls in 1..40 {
            let podman = podman(NEW);
            let before = podman.objects();
            // Either `is_needed` never completes, or the question is never answered.
            let answer = (!refuses).then(Rc::default);
            let gate = Watched { refuses, answer, ..Watched::new(&podman) };
            let aborted = run_gated(&podman, &gate, Some(polls)).await.unwrap_err();
            assert!(matches!(aborted.cause, StepError::Interrupted), "{aborted:?}");
            assert_eq!((podman.objects(), aborted.left), (before, Vec::new()), "after {polls} polls");
            let starts = podman.calls().into_iter().filter(|call| matches!(call, Call::StartContainer(_))).count();
            assert_eq!(starts, 0, "after {polls} polls");
            assert!(gate.asked.get() <= 1, "after {polls} polls");
            asked += gate.asked.get();
        }
    }
    assert!(asked > 2, "no interrupt came while it was asked");
}

#[tokio::test]
async fn a_plan_that_starts_nothing_asks_nothing() {
    let podman = podman(NEW);
    run_plan(&podman, &prepared(&podman, THREE).await).await.unwrap();
    let gate = Watched::new(&podman);
    run_gated(&podman, &gate, None).await.unwrap();
    assert_eq!(gate.asked.get(), 0);
}
