//! Plans to stop and start services with the containers that exist, without applying new settings.

use std::collections::{BTreeMap, BTreeSet};

use super::label::same_settings;
use super::observed::{container_made_for, differences};
use super::services::hosts;
use super::{Action, Desired, Launch, Observed, Plan, Step};
use crate::podman::{Container, ContainerState, Networking};

/// The plan of a restart.
#[derive(Debug, Clone, PartialEq)]
pub struct Restart {
    /// The steps.
    pub plan: Plan,
    /// The services that are stopped and started, or only started.
    pub services: Vec<Restarted>,
    /// The services that have no container.
    pub absent: Vec<String>,
}

/// A service that is restarted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restarted {
    /// Its name.
    pub service: String,
    /// Its container.
    pub container: String,
    /// Whether the container keeps settings that differ from the configuration.
    pub differs: bool,
    /// Whether the service is disabled in the configuration, which then has no settings to compare
    /// with.
    pub switched_off: bool,
}

/// Plans a restart of the launches. With `stopped_too`, containers that do not run are started as
/// well.
///
/// A service that uses another, by `depends_on` or by a name in its environment, stops before it
/// and starts after it. The containers of a pod count as one unit.
#[must_use]
pub fn restart(desired: &Desired, observed: &Observed, stopped_too: bool) -> Restart {
    let (mut members, mut absent) = (Vec::new(), Vec::new());
    for launch in &desired.launches {
        match container_made_for(&launch.service, Some(&launch.container.name), &observed.containers) {
            None => absent.push(launch.service.clone()),
            Some(found) if found.state == ContainerState::Running || stopped_too => {
                members.push(Member { launch, found });
            }
            Some(_) => {}
        }
    }
    let services = members.iter().map(|member| Restarted {
        service: member.launch.service.clone(),
        container: member.found.name.clone(),
        differs: member.launch.enabled && differs(desired, observed, member),
        switched_off: !member.launch.enabled,
    });
    Restart { services: services.collect(), plan: steps(&units(desired, &members)), absent }
}

/// A service and its container.
#[derive(Debug, Clone, Copy)]
struct Member<'a> {
    launch: &'a Launch,
    found: &'a Container,
}

/// A unit of stopping and starting: the containers of one pod, or one container without a pod.
#[derive(Debug, Default)]
struct Unit<'a> {
    members: Vec<Member<'a>>,
    /// The indexes of the units that it needs; all come before it.
    needs: BTreeSet<usize>,
}

/// Whether the container, its pod or its network differs from the configuration.
fn differs(desired: &Desired, observed: &Observed, member: &Member<'_>) -> bool {
    let container = &member.launch.container;
    let pod_differs = match &container.networking {
        Networking::Pod(name) => desired
            .pods
            .get(name)
            .is_some_and(|wanted| observed.pod(name).is_none_or(|found| !same_settings(&wanted.labels, &found.labels))),
        _ => false,
    };
    let network_differs = container.networking != Networking::Host
        && observed.network(&desired.network.name).is_none_or(|found| !differences(&desired.network, found).is_empty());
    !same_settings(&container.labels, &member.found.labels) || pod_differs || network_differs
}

/// The units, each after those that it needs. If two need each other, the configuration's order
/// decides.
fn units<'a>(desired: &Desired, members: &[Member<'a>]) -> Vec<Unit<'a>> {
    let mut grouped: Vec<(String, Vec<Member<'a>>)> = Vec::new();
    for member in members {
        let key = member.found.pod.clone().unwrap_or_else(|| member.found.name.clone());
        match grouped.iter_mut().find(|(other, _)| *other == key) {
            Some((_, members)) => members.push(*member),
            None => grouped.push((key, vec![*member])),
        }
    }
    let names: Vec<BTreeSet<&str>> = grouped.iter().map(|(key, members)| names(desired, key, members)).collect();
    let needs: Vec<BTreeSet<usize>> = grouped
        .iter()
        .map(|(_, members)| {
            let values = members.iter().flat_map(|member| member.launch.container.env.values());
            let hosts: BTreeSet<&str> = values.flat_map(|value| hosts(value)).collect();
            let depends_on = |service: &str| members.iter().any(|member| member.launch.uses.contains_key(service));
            let needs = |other: &usize| {
                let services = grouped[*other].1.iter().map(|member| member.launch.service.as_str());
                !names[*other].is_disjoint(&hosts) || services.into_iter().any(depends_on)
            };
            (0..names.len()).filter(needs).collect()
        })
        .collect();
    let mut order = Vec::new();
    (0..grouped.len()).for_each(|unit| visit(unit, &needs, &mut BTreeSet::new(), &mut order));
    let places: BTreeMap<usize, usize> = order.iter().enumerate().map(|(place, unit)| (*unit, place)).collect();
    let unit = |(place, unit): (usize, &usize)| Unit {
        members: grouped[*unit].1.clone(),
        needs: needs[*unit].iter().map(|other| places[other]).filter(|other| *other < place).collect(),
    };
    order.iter().enumerate().map(unit).collect()
}

/// Appends a unit to the order, after those that it needs.
fn visit(unit: usize, needs: &[BTreeSet<usize>], path: &mut BTreeSet<usize>, order: &mut Vec<usize>) {
    if order.contains(&unit) || !path.insert(unit) {
        return;
    }
    needs[unit].iter().for_each(|other| visit(*other, needs, path, order));
    order.push(unit);
}

/// The names under which a unit is reachable on the network.
fn names<'a>(desired: &'a Desired, key: &'a str, members: &[Member<'a>]) -> BTreeSet<&'a str> {
    let aliases = |member: &Member<'a>| match &member.launch.container.networking {
        Networking::Own(endpoint) => endpoint.aliases.as_slice(),
        Networking::Pod(pod) => desired.pods.get(pod).map_or(&[][..], |pod| &pod.endpoint.aliases),
        Networking::Host => &[],
    };
    let containers = members.iter().map(|member| member.found.name.as_str());
    members.iter().flat_map(aliases).map(String::as_str).chain(containers).chain([key]).collect()
}

fn steps(units: &[Unit<'_>]) -> Plan {
    let mut plan = Plan::default();
    let mut stops: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (place, unit) in units.iter().enumerate().rev() {
        let dependents = units.iter().enumerate().filter(|(_, other)| other.needs.contains(&place));
        let after: Vec<usize> = dependents.filter_map(|(other, _)| stops.get(&other)).flatten().copied().collect();
        for member in unit.members.iter().filter(|member| member.found.state == ContainerState::Running) {
            let step = add(&mut plan, member, Action::Stop { name: member.found.name.clone() }, after.clone());
            stops.entry(place).or_default().push(step);
        }
    }
    let mut checks: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (place, unit) in units.iter().enumerate() {
        let needed = unit.needs.iter().filter_map(|other| checks.get(other)).flatten();
        let mut after: Vec<usize> = stops.get(&place).into_iter().flatten().chain(needed).copied().collect();
        for member in &unit.members {
            let name = &member.found.name;
            let start = add(&mut plan, member, Action::Start { name: name.clone() }, after.clone());
            // Starts in a pod are serialized: podman sets the pod's network up with the first one.
            after.push(start);
            let sound = if member.launch.oneshot {
                Action::AwaitEnd { container: name.clone(), required: false }
            } else {
                Action::CheckRuns { name: name.clone() }
            };
            let check = add(&mut plan, member, sound, vec![start]);
            checks.entry(place).or_default().push(check);
            if let Some(health) = &member.launch.health {
                let action = Action::AwaitHealth {
                    times: member.launch.health_times,
                    container: name.clone(),
                    check: health.clone(),
                    kept: false,
                    required: false,
                };
                add(&mut plan, member, action, vec![check]);
            }
        }
    }
    plan
}

fn add(plan: &mut Plan, member: &Member<'_>, action: Action, after: Vec<usize>) -> usize {
    plan.steps.push(Step { action, service: Some(member.launch.service.clone()), after });
    plan.steps.len() - 1
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::tests::{NEW, THREE, config, desired, podman, start};
    use crate::plan::{HostContext, chosen};

    /// A chain: `paint` uses `web`, and `web` uses `model`, which is in a pod.
    fn chained() -> String {
        THREE
            .replace("[services.model]", "[services.model]\npod = \"deep\"")
            .replace("[services.web]", "[services.web]\nenv.BACKEND = \"http://llm:80/v1\"")
            .replace("[services.paint]", "[services.paint]\nenv.FRONT = \"web-0:80\"")
    }

    async fn planned(running: &str, wanted: &str, services: &[&str], stopped_too: bool) -> Restart {
        let podman = podman(NEW);
        start(&podman, running, &[]).await;
        podman.end("paint-0", 3);
        let observed = Observed::of(&podman, BTreeSet::new()).await.unwrap();
        let (config, names) = (config(wanted), services.iter().map(ToString::to_string).collect::<Vec<_>>());
        // A disabled service can be restarted, too.
        let chosen = chosen(&config, &names, true).unwrap();
        let desired = Desired::from_config(&config, &chosen, NEW, &HostContext::default());
        restart(&desired, &observed, stopped_too)
    }

    fn shown(restart: &Restart) -> Vec<String> {
        restart.plan.to_string().lines().map(|line| line.trim().to_owned()).collect()
    }

    #[tokio::test]
    async fn a_service_that_needs_another_by_name_stops_before_and_starts_after_it() {
        let restart = planned(&chained(), &chained(), &[], true).await;
        let expected = [
            "1. stop the container `web-0`",
            "2. stop the container `model-0` (after 1)",
            "3. start the container `model-0` (after 2)",
            "4. see that the container `model-0` runs (after 3)",
            "5. start the container `web-0` (after 1, 4)",
            "6. see that the container `web-0` runs (after 5)",
            "7. start the container `paint-0` (after 6)",
            "8. see that the container `paint-0` runs (after 7)",
        ];
        assert_eq!(shown(&restart), expected);
    }

    #[tokio::test]
    async fn without_names_only_what_runs_is_restarted() {
        let restart = planned(&chained(), &chained(), &[], false).await;
        let services: Vec<&str> = restart.services.iter().map(|one| one.service.as_str()).collect();
        assert_eq!(services, ["model", "web"]);
    }

    #[tokio::test]
    async fn changed_settings_are_reported_and_not_applied() {
        let changed = THREE.replace("[services.web]", "[services.web]\npids_limit = 9");
        let restart = planned(THREE, &changed, &["model", "web"], true).await;
        let differing: Vec<bool> = restart.services.iter().map(|one| one.differs).collect();
        assert_eq!(differing, [false, true]);
        assert!(!restart.plan.steps.iter().any(|step| matches!(step.action, Action::CreateContainer(_))));
        let network = format!("runtime.network.internal = true\n{THREE}");
        let restart = planned(THREE, &network, &["paint", "web"], true).await;
        let differing: Vec<bool> = restart.services.iter().map(|one| one.differs).collect();
        assert_eq!(differing, [true, false], "who is on the host's network does not care");
    }

    #[tokio::test]
    async fn a_service_disabled_since_is_reported_as_disabled_and_not_as_changed() {
        let off = THREE.replace("[services.web]", "[services.web]\nenabled = false");
        let restart = planned(THREE, &off, &["model", "web"], true).await;
        let states: Vec<(bool, bool)> = restart.services.iter().map(|one| (one.differs, one.switched_off)).collect();
        assert_eq!(states, [(false, false), (false, true)]);
    }

    #[tokio::test]
    async fn services_that_need_each_other_are_restarted_all_the_same() {
        let circle = THREE
            .replace("[services.model]", "[services.model]\nenv.A = \"http://web\"")
            .replace("[services.web]", "[services.web]\nenv.B = \"http://model\"");
        let restart = planned(&circle, &circle, &["model", "web"], false).await;
        assert_eq!(restart.plan.steps.len(), 6);
        assert!(restart.plan.steps.iter().enumerate().all(|(at, step)| step.after.iter().all(|before| *before < at)));
    }

    #[tokio::test]
    async fn a_service_without_a_container_is_absent() {
        let podman = podman(NEW);
        start(&podman, THREE, &["web"]).await;
        let observed = Observed::of(&podman, BTreeSet::new()).await.unwrap();
        let restart = restart(&desired(THREE, &["web", "model"], NEW), &observed, true);
        assert_eq!(restart.absent, ["model"]);
    }

    #[test]
    fn hosts_are_found_in_urls_and_alone() {
        let found = |value: &'static str| hosts(value).collect::<Vec<_>>();
        assert!(found("http://user:word@model:80/v1?x=//web").contains(&"model"));
        assert!(!found("http://user:word@model:80/v1?x=//web").contains(&"web"));
        assert!(found("redis://a:1,redis://b").contains(&"b"));
        assert!(found("model:80").contains(&"model"));
        assert!(!found("the model").contains(&"model"));
    }
}
