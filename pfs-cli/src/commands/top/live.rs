//! The live view: one thread asks, one reads keys, one waits for signals, and this one draws.
//!
//! Invariants: however it ends, the terminal is as it was before; and the session has ended in good order, unless the cluster
//! does not answer. What waits on the terminal ends with the process.

use super::ask;
use super::screen::{Order, View, draw};
use crate::connection::Cluster;
use crate::failure::{Failure, Outcome};
use crate::signals::Signals;
use pfs_proto::v1::{ActivityReply, ActivityRequest};
use ratatui::Terminal;
use ratatui::backend::TermionBackend;
use ratatui::termion::event::Key;
use ratatui::termion::input::TermRead;
use ratatui::termion::raw::IntoRawMode;
use ratatui::termion::screen::IntoAlternateScreen;
use std::io;
use std::sync::mpsc::{self, Sender};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// How long the end waits for an answer that is on its way.
const LAST_ANSWER: Duration = Duration::from_secs(2);

enum Event {
    Key(Key),
    Answer(Box<Result<ActivityReply, Failure>>),
    End,
}

/// Shows the cluster until a key or a signal ends it.
pub fn run(cluster: Cluster, request: ActivityRequest, interval: Duration) -> Outcome {
    let cannot = |error: io::Error| Failure::cannot("use the terminal", &error);
    let mut view = View { address: cluster.address.clone(), ..View::default() };
    let (events, received) = mpsc::channel();
    let ending = events.clone();
    // Nobody listens any more if the view has ended.
    on_signal(move || drop(ending.send(Event::End))).map_err(|error| Failure::cannot("wait for signals", &error))?;
    let screen = io::stdout().into_raw_mode().and_then(|raw| raw.into_alternate_screen()).map_err(cannot)?;
    let mut terminal = Terminal::new(TermionBackend::new(screen)).map_err(cannot)?;
    terminal.hide_cursor().map_err(cannot)?;
    send_keys(events.clone());
    let asking = send_answers(events, cluster, request, interval);
    loop {
        terminal.draw(|frame| draw(frame, &view)).map_err(cannot)?;
        // Drawn again in any case: the window may have another size.
        match received.recv_timeout(interval) {
            Ok(Event::End | Event::Key(Key::Char('q') | Key::Esc | Key::Ctrl('c'))) => break,
            Ok(Event::Key(key)) => press(&mut view, key),
            Ok(Event::Answer(answer)) => take(&mut view, *answer),
            Err(_) => {}
        }
    }
    terminal.show_cursor().map_err(cannot)?;
    drop(terminal);
    asking.end();
    Ok(())
}

/// The thread that asks.
struct Asking {
    stop: Sender<()>,
    ended: Receiver<()>,
}

impl Asking {
    /// Ends it, and the session with it.
    fn end(self) {
        drop(self.stop);
        // Nothing is ever sent: it ends, or the cluster does not answer and finds out by itself.
        let _ = self.ended.recv_timeout(LAST_ANSWER);
    }
}

fn press(view: &mut View, key: Key) {
    match key {
        Key::Char('p') => view.held = !view.held,
        Key::Char('h') => view.order = Order::Heat,
        Key::Char('b') => view.order = Order::Bytes,
        Key::Char('t') => view.order = Order::Tokens,
        Key::Char('c') => view.order = Order::Contention,
        _ => {}
    }
}

fn take(view: &mut View, answer: Result<ActivityReply, Failure>) {
    match answer {
        Ok(_) if view.held => {}
        Ok(now) => {
            view.now = Some(now);
            view.problem = None;
        }
        Err(Failure::Failed { problem, .. }) => view.problem = Some(problem),
        Err(_) => view.problem = Some("no answer".to_owned()),
    }
}

fn send_answers(events: Sender<Event>, cluster: Cluster, request: ActivityRequest, interval: Duration) -> Asking {
    let ((stop, stopped), (tell_ended, ended)) = (mpsc::channel::<()>(), mpsc::channel());
    thread::spawn(move || {
        let _tell_ended = tell_ended;
        while events.send(Event::Answer(Box::new(ask(&cluster, request)))).is_ok() {
            if stopped.recv_timeout(interval) == Err(RecvTimeoutError::Disconnected) {
                break;
            }
        }
        drop(cluster);
    });
    Asking { stop, ended }
}

/// A terminal that goes away ends the view.
fn send_keys(events: Sender<Event>) {
    thread::spawn(move || {
        for key in io::stdin().keys() {
            let Ok(key) = key else { break };
            if events.send(Event::Key(key)).is_err() {
                return;
            }
        }
        // Nobody listens any more if the view has ended.
        let _ = events.send(Event::End);
    });
}

/// Tells whoever listens of the first signal that asks for an end.
pub fn on_signal(tell: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals::catch()?
    };
    thread::spawn(move || {
        runtime.block_on(signals.next());
        tell();
    });
    Ok(())
}
