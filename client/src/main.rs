//! The command `airpods`.

#![forbid(unsafe_code)]

fn main() -> airpods::Exit {
    airpods::run()
}
