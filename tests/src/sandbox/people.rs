//! The users of a sandbox. The host's own people do not exist in there.

use std::fmt::Write as _;

/// A person with an account in every sandbox.
#[derive(Debug)]
pub struct Person {
    /// The login name; the group has the same.
    pub name: &'static str,
    /// User and group id.
    pub uid: u32,
    /// Further groups. Debian's polkit takes members of `sudo` for administrators.
    pub groups: &'static [&'static str],
}

/// Two ordinary users and an administrator. Everybody's password is [`PASSWORD`].
pub const PEOPLE: [Person; 3] = [
    Person { name: "alice", uid: 1000, groups: &[] },
    Person { name: "bob", uid: 1001, groups: &[] },
    Person { name: "admin", uid: 1002, groups: &["sudo"] },
];

/// Everybody's password, root's included.
pub const PASSWORD: &str = "password";

/// `openssl passwd -6 -salt airpodslab password`
pub(crate) const PASSWORD_HASH: &str =
    "$6$airpodslab$yP1/CrFwNON.SPjVw/cXey/Ev4iykFaisboYDkQzEq578sKBAWiIgpP06tBv8rBIuuEpGPJaqTcw8LA5eLVhB/";

/// The helper's system user: name, uid and gid. As systemd-sysusers would make it, at the top of
/// the system range.
pub const HELPER_USER: (&str, u32) = ("airpods-helper", 990);

/// First id of regular users in systemd and Debian (`UID_MIN` of login.defs).
const FIRST_PERSON: u32 = 1000;
/// `nobody` and above are no people either.
const LAST_PERSON: u32 = 60000;
/// Number of subordinate ids that `useradd` gives to each user.
const SUBIDS: u32 = 65536;

/// The home folder of a name known to a sandbox.
pub(crate) fn home(name: &str) -> String {
    match name {
        "root" => "/root".into(),
        _ if person(name).is_some() => format!("/home/{name}"),
        _ => "/".into(),
    }
}

/// The person of that name; system users and root are none.
pub(crate) fn person(name: &str) -> Option<&'static Person> {
    PEOPLE.iter().find(|person| person.name == name)
}

/// The account files of a sandbox, made from the host's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Accounts {
    pub(crate) passwd: String,
    pub(crate) group: String,
    pub(crate) shadow: String,
    pub(crate) subids: String,
}

/// Keeps the host's system users and groups, drops its people, adds ours.
pub(crate) fn accounts(host_passwd: &str, host_group: &str) -> Accounts {
    let (helper, helper_id) = HELPER_USER;
    let mut passwd = system_lines(host_passwd);
    let mut group = String::new();
    for line in system_lines(host_group).lines() {
        let name = line.split(':').next().unwrap_or_default();
        let members: Vec<&str> =
            PEOPLE.iter().filter(|person| person.groups.contains(&name)).map(|person| person.name).collect();
        let fixed = line.rsplit_once(':').map_or(line, |(fixed, _)| fixed);
        let _ = writeln!(group, "{fixed}:{}", members.join(","));
    }
    let mut shadow = format!("root:{PASSWORD_HASH}:19000:0:99999:7:::\n");
    let mut subids = String::new();
    let _ = writeln!(passwd, "{helper}:x:{helper_id}:{helper_id}:airpods helper:/:/usr/sbin/nologin");
    let _ = writeln!(group, "{helper}:x:{helper_id}:");
    for (Person { name, uid, .. }, number) in PEOPLE.iter().zip(0..) {
        let _ = writeln!(passwd, "{name}:x:{uid}:{uid}::/home/{name}:/bin/sh");
        let _ = writeln!(group, "{name}:x:{uid}:");
        let _ = writeln!(shadow, "{name}:{PASSWORD_HASH}:19000:0:99999:7:::");
        let _ = writeln!(subids, "{name}:{}:{SUBIDS}", 100_000 + number * SUBIDS);
    }
    Accounts { passwd, group, shadow, subids }
}

/// The lines of passwd or group (the id is the third field in both) that belong to no person and
/// not to the helper.
fn system_lines(file: &str) -> String {
    let (helper, helper_id) = HELPER_USER;
    file.lines()
        .filter(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let id: Option<u32> = fields.get(2).and_then(|id| id.parse().ok());
            let ours = fields.first() == Some(&helper) || id == Some(helper_id);
            !ours && id.is_some_and(|id| !(FIRST_PERSON..LAST_PERSON).contains(&id))
        })
        .fold(String::new(), |text, line| text + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_has_the_hosts_system_users_and_not_its_people() {
        let host = "root:x:0:0::/root:/bin/bash\nmessagebus:x:100:102::/:/bin/false\nmallory:x:1000:1000::/:/bin/sh\n";
        let made = accounts(host, "root:x:0:\nsudo:x:27:mallory\nmallory:x:1000:\n");
        assert!(made.passwd.contains("messagebus:x:100:102"));
        assert!(!made.passwd.contains("mallory") && !made.group.contains("mallory"));
        assert!(made.group.contains("sudo:x:27:admin\n"));
        assert!(made.passwd.contains("alice:x:1000:1000::/home/alice:/bin/sh\n"));
        assert_eq!(made.subids.lines().next(), Some("alice:100000:65536"));
    }

    #[test]
    fn an_installed_helper_user_is_replaced_not_doubled() {
        let made = accounts("airpods-helper:x:123:123::/:/bin/false\n", "");
        assert_eq!(made.passwd.matches("airpods-helper:").count(), 1);
    }
}
