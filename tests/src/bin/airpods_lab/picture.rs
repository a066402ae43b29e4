//! `airpods-lab picture`: draws a real terminal run for the head of README.md, in light and in
//! dark.

use std::fs;
use std::path::Path;

use airpods_lab::Place;
use airpods_lab::path::{PathWorld, Rules, Server};
use anstyle::{Color, RgbColor};
use anstyle_svg::{Palette, Term};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The largest packet that the path of this world carries both ways, in bytes; the link's MTU is
/// 1420.
const NARROW: usize = 1300;
/// The server's name on the user's command line.
const NAME: &str = "models.example";
/// The width of the terminal, in columns.
const COLUMNS: usize = 100;

/// Runs the command in a world of its own and writes the pictures `net-check-light.svg` and
/// `net-check-dark.svg`.
///
/// # Errors
/// When the world cannot be made, the command finds something else, or a file cannot be written.
pub(crate) fn draw(folder: &Path) -> Result<()> {
    let mut world = PathWorld::new(Rules::narrow(NARROW, NARROW), 1)?;
    world.serve_as(Server::Rsa, NAME)?;
    let typed = format!("airpods net check --url https://{NAME}/");
    let alice = world.sandbox().as_user("alice");
    // The picture shows a finding, so exit code 1 is expected.
    let output = alice.sh(&format!(
        "export CLICOLOR_FORCE=1 LANG=C.UTF-8\n{{ {typed} 2>&1 || test $? = 1; }} | fold -s -w {COLUMNS}"
    ))?;
    if !output.contains(&NARROW.to_string()) {
        return Err(format!("the check should have found {NARROW} bytes, and said:\n{output}").into());
    }
    let run = format!("\x1b[1m$ {typed}\x1b[0m\n{output}");
    fs::create_dir_all(folder)?;
    for (name, term) in [("light", light()), ("dark", dark())] {
        fs::write(folder.join(format!("net-check-{name}.svg")), term.render_svg(&run))?;
    }
    Ok(())
}

const fn rgb(hex: u32) -> RgbColor {
    let [_, red, green, blue] = hex.to_be_bytes();
    RgbColor(red, green, blue)
}

const fn term(foreground: u32, background: u32, palette: [u32; 16]) -> Term {
    let mut colours = [rgb(0); 16];
    let mut index = 0;
    while index < colours.len() {
        colours[index] = rgb(palette[index]);
        index += 1;
    }
    Term::new().fg_color(Color::Rgb(rgb(foreground))).bg_color(Color::Rgb(rgb(background))).palette(Palette(colours))
}

/// Colours readable on white: contrast of at least 4.5 (WCAG 2.1, 1.4.3).
const fn light() -> Term {
    let plain = [0x1f_2328, 0xa4_0e26, 0x11_6329, 0x7d_4e00, 0x09_50ae, 0x82_50df, 0x1b_7c83, 0x57_606a];
    term(0x1f_2328, 0xff_ffff, twice(plain))
}

/// The same on black.
const fn dark() -> Term {
    let plain = [0x8b_949e, 0xff_7b72, 0x56_d364, 0xe3_b341, 0x79_c0ff, 0xd2_a8ff, 0x56_d4dd, 0xe6_edf3];
    term(0xe6_edf3, 0x0d_1117, twice(plain))
}

/// Uses the plain colours as the bright ones too, because the picture marks emphasis in bold.
const fn twice(plain: [u32; 8]) -> [u32; 16] {
    let mut all = [0; 16];
    let mut index = 0;
    while index < all.len() {
        all[index] = plain[index % plain.len()];
        index += 1;
    }
    all
}
