//! `services.NAME.unset`: keys of the built-in defaults that a service is to be without.

use super::problem::{Problem, Problems};
use super::tree::{Node, Table, Value};
use crate::spelling::nearest;

/// Takes away what `unset` of each service names. What a person has set is not taken away: that is two wishes at once.
pub(super) fn take_away(tree: &mut Table, problems: &Problems) {
    let Some(Value::Table(services)) = tree.get_mut("services").map(|node| &mut node.value) else { return };
    for (name, service) in services.iter_mut() {
        let Value::Table(service) = &mut service.value else { continue };
        let Some(unset) = service.get("unset").cloned() else { continue };
        // Whether it is an array of texts at all is for whoever reads the service to say.
        let Value::Array(keys) = unset.value else { continue };
        for (index, key) in keys.iter().enumerate() {
            let Value::String(path) = &key.value else { continue };
            if let Err(why) = remove(service, path) {
                let place = format!("services.{name}.unset.{index}");
                problems.push(Problem { message: format!("`{place}`: {}", why.message), ..why }.at(key.at.clone()));
            }
        }
    }
}

fn remove(table: &mut Table, path: &str) -> Result<(), Problem> {
    let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
    let Some(node) = table.get_mut(key) else {
        let problem = Problem::error(format!("there is no `{key}` to be without"));
        let near = nearest(key, table.iter().map(|(key, _)| key));
        return Err(Problem { hint: near.map(|near| format!("did you mean `{near}`?")), ..problem });
    };
    if let Some(rest) = rest {
        return match &mut node.value {
            Value::Table(below) => remove(below, rest),
            _ => Err(Problem::error(format!("`{key}` has nothing below it"))),
        };
    }
    if sets(node) {
        return Err(
            Problem::error(format!("`{path}` is set in the same configuration")).hint("leave out one of the two")
        );
    }
    table.remove(key);
    Ok(())
}

/// Whether a person wrote anything of a value.
fn sets(node: &Node) -> bool {
    match &node.value {
        Value::Table(table) => table.iter().any(|(_, entry)| sets(&entry.node)),
        _ => node.at.is_users(),
    }
}
