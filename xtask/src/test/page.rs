//! What people look at, looked at by machine: the page in a headless browser, the live view in a terminal.
//!
//! Both are of one cluster with load on it. The browser's picture is kept in `target/page/`, for people to judge.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::findings::Findings;
use crate::cluster::Cluster;
use crate::interrupt;
use crate::step::{self, Step};
use crate::workspace::{self, Built};

const FILE_SERVERS: u32 = 3;
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
const BROWSER_LIMIT: Duration = Duration::from_secs(120);
/// How long anything may take to be seen.
const SEEN_LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Milliseconds of the page's own time: enough for its second look.
const PAGE_TIME_MS: u32 = 5_000;
/// A picture of nothing is smaller.
const PICTURE_BYTES_MIN: u64 = 20_000;
/// A name that would be markup if it were taken for that.
const FILE: &str = "/<i>field 1";
/// Lines and columns of the terminal.
const TERMINAL: (u16, u16) = (42, 130);

/// Runs both against one cluster.
pub fn run(built: &Built, findings: &mut Findings) -> Result<()> {
    let cluster = Cluster::start(built.program("pfs")?, FILE_SERVERS)?;
    let mut load = Load::start(&cluster)?;
    findings.check("pfs top --once --json sees the load", || sees_load(&cluster));
    findings.check("the page in a headless browser", || in_browser(&cluster));
    findings.check("pfs top in a terminal", || in_terminal(&cluster));
    load.end();
    cluster.stop()
}

/// Somebody who writes a file, slowly and without an end.
struct Load(std::process::Child);

impl Load {
    fn start(cluster: &Cluster) -> Result<Self> {
        let mut command = Command::new("bash");
        command.args(["-c", "while head -c 4000000 /dev/urandom && sleep 0.2; do :; done | \"$@\"", "load"]);
        let copy = cluster.pfs(&["cp", "--quiet", "-", &format!("pfs:{FILE}")]);
        command.arg(copy.get_program()).args(copy.get_args());
        cluster.reachable_from(&mut command);
        // It is interrupted in the end, and says so.
        command.stderr(Stdio::null());
        Ok(Load(command.spawn().context("starting a writer")?))
    }

    fn end(&mut self) {
        step::end(&mut self.0);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

fn sees_load(cluster: &Cluster) -> Result<String> {
    let what = || {
        let answer = Step::new("pfs top", cluster.pfs(&["top", "--once", "--json"]), COMMAND_LIMIT).run()?.stdout;
        let now: serde_json::Value = serde_json::from_str(&answer).context("pfs top --json printed no JSON")?;
        let rate = now["traffic"]["written_bytes_per_s"].as_f64().context("no rate of writes")?;
        let hot =
            now["hottest_files"][0]["path"] == FILE && now["history"].as_array().is_some_and(|list| list.len() > 1);
        Ok((hot && rate > 1e6).then(|| format!("{:.1} MB/s written", rate / 1e6)))
    };
    eventually("pfs top to see the load", what)
}

fn page_address(cluster: &Cluster) -> Result<String> {
    let answer = Step::new("pfs status", cluster.pfs(&["status", "--json"]), COMMAND_LIMIT).run()?.stdout;
    let status: serde_json::Value = serde_json::from_str(&answer).context("pfs status --json printed no JSON")?;
    Ok(status["page"].as_str().context("pfs status tells no page")?.to_owned())
}

fn browser(profile: &Path, address: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("chromium");
    command.args([
        "--headless",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
    ]);
    command.args(["--disable-component-update", "--disable-sync", "--hide-scrollbars", "--window-size=1280,1300"]);
    if rustix::process::geteuid().is_root() {
        command.arg("--no-sandbox");
    }
    command.arg(format!("--user-data-dir={}", profile.display())).arg(format!("--virtual-time-budget={PAGE_TIME_MS}"));
    command.args(arguments).arg(address);
    command
}

fn in_browser(cluster: &Cluster) -> Result<String> {
    let address = page_address(cluster)?;
    let profile = tempfile::tempdir().context("making a folder for the browser")?;
    let show = |name: &str, address: &str, arguments: &[&str]| -> Result<String> {
        let command = browser(profile.path(), address, arguments);
        Ok(Step::new(name, command, BROWSER_LIMIT).run()?.stdout)
    };
    let document = show("chromium --dump-dom", &address, &["--dump-dom"])?;
    for text in ["file-0", "file-2", "3 of 3", "&lt;i&gt;field 1", "<polyline", "class=\"token\"", "as of "] {
        ensure!(document.contains(text), "{text} is not on the page:\n{document}");
    }
    ensure!(!document.contains("<i>field"), "a file's name was taken for markup");
    let without_key = address.split('?').next().context("an address")?;
    let refusal = show("chromium, without the key", without_key, &["--dump-dom"])?;
    ensure!(refusal.contains("view key") && !refusal.contains("file-0"), "without the key it shows:\n{refusal}");

    let picture = picture_path()?;
    show("chromium --screenshot", &address, &[&format!("--screenshot={}", picture.display())])?;
    let bytes = fs::metadata(&picture).with_context(|| format!("there is no {}", picture.display()))?.len();
    ensure!(bytes >= PICTURE_BYTES_MIN, "{} has {bytes} bytes, which shows nothing", picture.display());
    Ok(format!("{}, {bytes} bytes", picture.display()))
}

fn picture_path() -> Result<PathBuf> {
    let directory = workspace::target_directory()?.join("page");
    fs::create_dir_all(&directory)?;
    let picture = directory.join("page.png");
    match fs::remove_file(&picture) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("removing the last picture"),
        _ => Ok(picture),
    }
}

/// A terminal of its own, which ends with this value.
struct Terminal {
    directory: tempfile::TempDir,
}

impl Terminal {
    fn start(cluster: &Cluster, arguments: &[&str]) -> Result<Self> {
        let terminal = Terminal { directory: tempfile::tempdir().context("making a folder for a terminal")? };
        let (lines, columns) = TERMINAL;
        let (lines, columns) = (lines.to_string(), columns.to_string());
        let mut command = terminal.command(&["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &lines]);
        let program = cluster.pfs(arguments);
        command.arg(program.get_program()).args(program.get_args());
        cluster.reachable_from(&mut command);
        Step::new("tmux new-session", command, COMMAND_LIMIT).run()?;
        Ok(terminal)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.directory.path().join("socket")).args(arguments).env_remove("TMUX");
        command.env("TERM", "xterm-256color");
        command
    }

    /// What is on the screen; nothing when the program has ended, and the terminal with it.
    fn screen(&self) -> Result<Option<String>> {
        let shown =
            Step::new("tmux capture-pane", self.command(&["capture-pane", "-p"]), COMMAND_LIMIT).run_any_status()?;
        Ok(shown.status.success().then_some(shown.stdout))
    }

    fn press(&self, key: &str) -> Result<()> {
        Step::new("tmux send-keys", self.command(&["send-keys", key]), COMMAND_LIMIT).run().map(drop)
    }

    fn wait_for(&self, texts: &[&str]) -> Result<String> {
        let mut last = String::new();
        let found = eventually("the screen", || {
            last = self.screen()?.with_context(|| format!("it ended by itself, after\n{last}"))?;
            Ok(texts.iter().all(|text| last.contains(text)).then(|| last.clone()))
        });
        found.with_context(|| format!("not all of {texts:?} on the screen:\n{last}"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended already if all went well.
        let _ended =
            Step::new("tmux kill-server", self.command(&["kill-server"]), COMMAND_LIMIT).cleaning_up().run_any_status();
    }
}

fn in_terminal(cluster: &Cluster) -> Result<String> {
    let terminal = Terminal::start(cluster, &["top", "--interval", "0.5"])?;
    terminal.wait_for(&["3 of 3 file servers up", "file-2", FILE, "MiB/s", "Hottest files", "Sessions", "q end"])?;
    terminal.press("c")?;
    terminal.wait_for(&["Files by contention"])?;
    terminal.press("p")?;
    let screen = terminal.wait_for(&["held"])?;
    fs::write(workspace::target_directory()?.join("page/top.txt"), &screen).context("keeping the screen")?;
    terminal.press("q")?;
    eventually("it to end", || Ok(terminal.screen()?.is_none().then_some(())))?;
    // It was a session, and has said goodbye: what is left is the writer, and whoever asks.
    let answer = Step::new("pfs status", cluster.pfs(&["status", "--json"]), COMMAND_LIMIT).run()?.stdout;
    let status: serde_json::Value = serde_json::from_str(&answer).context("pfs status --json printed no JSON")?;
    let sessions = status["sessions"].as_array().context("no sessions")?.len();
    ensure!(sessions == 2, "{sessions} sessions are left: {}", status["sessions"]);
    Ok(String::new())
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        interrupt::check()?;
        if let Some(seen) = look()? {
            return Ok(seen);
        }
        if started.elapsed() > SEEN_LIMIT {
            bail!("waited {} s for {what}", SEEN_LIMIT.as_secs());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
