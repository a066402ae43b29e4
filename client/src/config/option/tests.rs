//! Spellings in; one form out, or a refusal.

use super::*;

#[test]
fn every_spelling_of_a_value_comes_to_one_form() {
    use ContainerOption as O;
    for (option, spellings, form) in [
        (O::CapAdd, &["sys_ptrace", "SYS_PTRACE", "CAP_SYS_PTRACE", "cap_sys_ptrace"][..], "CAP_SYS_PTRACE"),
        (O::CapDrop, &["all", "ALL"], "ALL"),
        (
            O::SecurityOpt,
            &["no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"],
            "no-new-privileges",
        ),
        (O::SecurityOpt, &["label:disable", "label=disable"], "label=disable"),
        (O::SecurityOpt, &["label=type:container_runtime_t"], "label=type:container_runtime_t"),
        (O::ShmSize, &["1g", "1024M", "1073741824", "1GB"], "1g"),
        (O::Userns, &["keep-id:uid=1000,gid=1000"], "keep-id:uid=1000,gid=1000"),
        (O::GroupAdd, &["keep-groups"], "keep-groups"),
        (O::User, &["1000:1000"], "1000:1000"),
        (O::WorkingDir, &["/app", "/app/"], "/app"),
        (O::Tmpfs, &["/cache", "/cache/", "/cache:"], "/cache"),
        (O::Tmpfs, &["/cache:size=64m,mode=1777,noexec"], "/cache:size=64m,mode=1777,noexec"),
        (O::Ulimits, &["nofile=65536", "nofile=65536:65536"], "nofile=65536:65536"),
        (O::Ulimits, &["memlock=-1", "memlock=unlimited", "memlock=-1:-1"], "memlock=-1:-1"),
        (O::Sysctls, &["net.core.somaxconn=1024", " net.core.somaxconn = 1024 "], "net.core.somaxconn=1024"),
    ] {
        for spelling in spellings {
            assert_eq!(normal(option, spelling).ok().as_deref(), Some(form), "{spelling}");
        }
    }
}

#[test]
fn an_invalid_value_is_refused() {
    use ContainerOption as O;
    for (option, text) in [
        (O::User, ""),
        (O::User, "a b"),
        (O::User, "1000:"),
        (O::Userns, "keep-id:size=1"),
        (O::Userns, "private"),
        (O::Ipc, "container:x"),
        (O::ShmSize, "much"),
        (O::CapAdd, "SYS-PTRACE"),
        (O::SecurityOpt, "seccomp="),
        (O::SecurityOpt, "no-new-privileges:false"),
        (O::SecurityOpt, "writable-cgroups=true"),
        (O::Hostname, "two words"),
        (O::GroupAdd, "-x"),
        (O::WorkingDir, "app"),
        (O::WorkingDir, "/app/../x"),
        (O::Tmpfs, "cache"),
        (O::Tmpfs, "/"),
        (O::Tmpfs, "/cache:size=much"),
        (O::Tmpfs, "/cache:uid=1000"),
        (O::Ulimits, "nofile"),
        (O::Ulimits, "nofile=2:1"),
        (O::Ulimits, "nofile=-1:1"),
        (O::Ulimits, "files=1"),
        (O::Sysctls, "net.core.somaxconn"),
        (O::Sysctls, "vm.overcommit_memory=1"),
    ] {
        assert!(normal(option, text).is_err(), "{option:?}: {text}");
    }
}

#[test]
fn only_what_a_container_can_have_for_itself_is_taken() {
    for (given, taken) in [
        ("net.ipv4.ip_local_port_range=1024\t 65000", Some("net.ipv4.ip_local_port_range=1024 65000")),
        ("net.ipv4.conf.all.src_valid_mark=1", Some("net.ipv4.conf.all.src_valid_mark=1")),
        ("fs.mqueue.msg_max=64", Some("fs.mqueue.msg_max=64")),
        ("kernel.sem=250 32000 32 128", Some("kernel.sem=250 32000 32 128")),
        ("kernel.shmmax=68719476736", Some("kernel.shmmax=68719476736")),
        ("kernel.hostname=x", None),
        ("kernel.shm_next_id=1", None),
        ("vm.max_map_count=262144", None),
        ("fs.file-max=1", None),
        ("net.=1", None),
        ("net..core=1", None),
        ("net.core.../../vm=1", None),
        ("net.core.somaxconn=", None),
        ("net.core.somaxconn=1\u{1b}2", None),
    ] {
        assert_eq!(sysctl(given).ok().as_deref(), taken, "{given}");
    }
}
