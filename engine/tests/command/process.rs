//! A process of the command: what it says, and how it ends.

use std::{
    io::{BufRead as _, BufReader, Read},
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tidegate::env::{Env, channel::mpsc};

/// Far more than anything here takes; a process that is still there then hangs.
pub const BOUND: Duration = Duration::from_secs(60);

/// A port that is free now, of a loopback address that no connection leaves from: nobody takes it by chance meanwhile.
pub fn free_address() -> String {
    let process = std::process::id().to_be_bytes();
    let host = Ipv4Addr::new(127, 128 | process[1], process[2], process[3].max(2));
    TcpListener::bind((host, 0)).unwrap().local_addr().unwrap().to_string()
}

/// A running process. It is killed when this is dropped.
pub struct Process {
    env: Env,
    name: String,
    child: Child,
    /// Ends when the process does.
    lines: mpsc::Receiver<String>,
    said: String,
}

/// How a process ended.
#[derive(Debug)]
pub struct Exit {
    /// `None` if a signal ended it.
    pub code: Option<i32>,
    /// Everything that it wrote.
    pub said: String,
}

impl Process {
    /// Starts `tidegate` with these arguments.
    pub fn start(env: &Env, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel(1024);
        forward(env, child.stdout.take().unwrap(), sender.clone());
        forward(env, child.stderr.take().unwrap(), sender);
        Self { env: env.clone(), name: arguments.join(" "), child, lines, said: String::new() }
    }

    /// Runs `tidegate` with these arguments to its end.
    pub async fn run(env: &Env, arguments: &[&str]) -> Exit {
        Self::start(env, arguments).exit().await
    }

    /// Its end, if it comes within this time.
    pub async fn exit_within(&mut self, time: Duration) -> Option<Exit> {
        let deadline = self.env.now().saturating_add(time);
        while let Some(line) = self.env.until(Some(deadline), self.lines.recv()).await? {
            self.note(&line);
        }
        let code = self.child.wait().unwrap().code();
        Some(Exit { code, said: self.said.clone() })
    }

    /// Its end.
    pub async fn exit(mut self) -> Exit {
        let exit = self.exit_within(BOUND).await;
        exit.unwrap_or_else(|| panic!("`tidegate {}` hangs; it said:\n{}", self.name, self.said))
    }

    fn note(&mut self, line: &str) {
        self.said.push_str(line);
        self.said.push('\n');
    }

    /// What it said so far, as far as that was waited for.
    pub fn said(&self) -> &str {
        &self.said
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGINT, as Ctrl-C sends it.
    pub fn interrupt(&self) {
        let sent = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(env: &Env, stream: impl Read + Send + 'static, lines: mpsc::Sender<String>) {
    let world = env.clone();
    env.spawn(async move {
        world
            .blocking(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if lines.blocking_send(line).is_err() {
                        return;
                    }
                }
            })
            .await;
    });
}
