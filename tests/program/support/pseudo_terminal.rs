//! A terminal without a screen: the program writes to it as to a person's, the test sees every byte.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// Longer than any run of a test takes; a program that waits for an answer is ended then.
const PATIENCE: Duration = Duration::from_secs(180);

/// Exit status and all that `command` wrote, with a terminal as stdin and stdout.
///
/// # Panics
/// If the program has not ended after [`PATIENCE`].
pub fn run(command: &mut Command) -> (Option<i32>, String) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let slave = File::options().read(true).write(true).open(name).unwrap();
    let mut child = command.stdin(slave.try_clone().unwrap()).stdout(slave).spawn().unwrap();
    // The command would hold the terminal open; without it, reading ends with the program.
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let (mut master, (sender, receiver)) = (File::from(master), mpsc::channel());
    let text = thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
            // A terminal whose program has ended is at its end, or an error.
            while let Ok(count @ 1..) = master.read(&mut piece) {
                bytes.extend_from_slice(&piece[..count]);
            }
            let _ = sender.send(());
            String::from_utf8_lossy(&bytes).into_owned()
        });
        if receiver.recv_timeout(PATIENCE).is_err() {
            child.kill().unwrap();
        }
        reader.join().unwrap()
    });
    (child.wait().unwrap().code(), text)
}
