//! What the live view looks like: a function of what is known, so that it can be tested without a terminal.

use super::rows::{self, Headings};
use super::text::summary;
use pfs_proto::v1::{ActivityReply, FileActivity};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Sparkline, Table};
use std::cmp::Reverse;

/// Lines of a graph with its frame.
const GRAPH_LINES: u16 = 6;
/// Lines for sessions at most, with their heading and frame.
const SESSION_LINES_MAX: u16 = 9;

/// What files are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// As the metadata server has them: the hottest by all that counts.
    #[default]
    Heat,
    /// Bytes a second.
    Bytes,
    /// Token requests a second.
    Tokens,
    /// Waiting requests, then revokes a second.
    Contention,
}

/// What is shown.
#[derive(Debug, Default)]
pub struct View {
    /// Of the metadata server.
    pub address: String,
    /// The last answer.
    pub now: Option<ActivityReply>,
    /// Why there is none, or none newer.
    pub problem: Option<String>,
    /// New answers are not shown.
    pub held: bool,
    /// The order of files.
    pub order: Order,
}

/// Draws all of it.
pub fn draw(frame: &mut Frame<'_>, view: &View) {
    let Some(now) = &view.now else {
        let text = view.problem.clone().unwrap_or_else(|| format!("asking {} …", view.address));
        return frame.render_widget(Paragraph::new(text), frame.area());
    };
    let servers = u16::try_from(now.servers.len()).unwrap_or(u16::MAX).saturating_add(3);
    let sessions = u16::try_from(now.sessions.len()).unwrap_or(u16::MAX).saturating_add(3).min(SESSION_LINES_MAX);
    let graphs = if frame.area().height >= 30 { GRAPH_LINES } else { 0 };
    let [top, graphs, servers, files, sessions, bottom] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(graphs),
        Constraint::Length(servers.min(frame.area().height / 3)),
        Constraint::Min(4),
        Constraint::Length(sessions.min(frame.area().height / 4)),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let lines: Vec<Line<'_>> = summary(&view.address, now).into_iter().map(Line::from).collect();
    frame.render_widget(Paragraph::new(lines), top);
    draw_graphs(frame, graphs, now);
    let down = |index: usize| (!now.servers[index].live).then(|| Style::new().fg(Color::Red));
    draw_table(frame, servers, "File servers", rows::SERVERS, now.servers.iter().map(rows::server), down);
    let listed = ordered(&now.hottest_files, view.order);
    let contended = |index: usize| (listed[index].waiting > 0).then(|| Style::new().fg(Color::Yellow));
    let title = match view.order {
        Order::Heat => "Hottest files",
        Order::Bytes => "Files by bytes",
        Order::Tokens => "Files by token requests",
        Order::Contention => "Files by contention",
    };
    draw_table(frame, files, title, rows::FILES, listed.iter().map(|file| rows::file(file)), contended);
    let broken = |index: usize| (!now.sessions[index].connected).then(|| Style::new().fg(Color::Red));
    draw_table(frame, sessions, "Sessions", rows::SESSIONS, now.sessions.iter().map(rows::session), broken);
    frame.render_widget(Paragraph::new(footer(view)), bottom);
}

fn footer(view: &View) -> Line<'_> {
    let keys = Span::from("q end  p hold  h heat  b bytes  t tokens  c contention").dim();
    match (&view.problem, view.held) {
        (Some(problem), _) => Line::from(vec![Span::from(format!("{problem}; what is shown is old  ")).red(), keys]),
        (None, true) => Line::from(vec![Span::from("held  ").yellow(), keys]),
        (None, false) => Line::from(keys),
    }
}

fn ordered(files: &[FileActivity], order: Order) -> Vec<&FileActivity> {
    let mut files: Vec<&FileActivity> = files.iter().collect();
    // Rates are finite and not negative, so whole thousandths order them.
    let whole = |rate: f64| Reverse((rate * 1000.0) as u64);
    match order {
        Order::Heat => {}
        Order::Bytes => files.sort_by_key(|file| whole(file.read_bytes_per_s + file.written_bytes_per_s)),
        Order::Tokens => files.sort_by_key(|file| whole(file.token_requests_per_s)),
        Order::Contention => files.sort_by_key(|file| (Reverse(file.waiting), whole(file.revokes_per_s))),
    }
    files
}

/// Throughput and token traffic of the last minutes, as long as there is room for them, now at the right.
fn draw_graphs(frame: &mut Frame<'_>, area: Rect, now: &ActivityReply) {
    let areas: [Rect; 3] = Layout::horizontal([Constraint::Ratio(1, 3); 3]).areas(area);
    type Of = fn(&pfs_proto::v1::Moment) -> f64;
    type Shown = fn(f64) -> String;
    let graphs: [(&str, Of, Shown, Color); 3] = [
        ("written", |moment| moment.written_bytes_per_s, rows::bytes_rate, Color::Blue),
        ("read", |moment| moment.read_bytes_per_s, rows::bytes_rate, Color::Green),
        ("token requests", |moment| moment.token_requests_per_s, rows::rate, Color::Magenta),
    ];
    for (area, (name, of, shown, color)) in areas.into_iter().zip(graphs) {
        let room = usize::from(area.width.saturating_sub(2));
        let values = &now.history[now.history.len().saturating_sub(room)..];
        let most = values.iter().map(of).fold(0.0, f64::max);
        let block = Block::new().borders(Borders::ALL).title(format!(" {name}, at most {} ", shown(most)));
        let mut bars = vec![0; room.saturating_sub(values.len())];
        bars.extend(values.iter().map(|moment| of(moment).ceil() as u64));
        frame.render_widget(Sparkline::default().block(block).data(bars).style(Style::new().fg(color)), area);
    }
}

fn draw_table<const N: usize>(
    frame: &mut Frame<'_>,
    area: Rect,
    title: &str,
    headings: Headings<N>,
    cells: impl Iterator<Item = [String; N]>,
    style: impl Fn(usize) -> Option<Style>,
) {
    let cells: Vec<[String; N]> = cells.collect();
    // Columns of numbers are as wide as they need to be; what is left is for the first column of text.
    let mut stretched = false;
    let widths = std::array::from_fn::<_, N, _>(|column| {
        let (heading, number) = headings[column];
        if !number && !stretched && (heading == "FILE" || heading == "NAME" || heading == "FILE SERVER") {
            stretched = true;
            return Constraint::Min(12);
        }
        let width = cells.iter().map(|row| row[column].chars().count()).chain([heading.len(), 9]).max().unwrap_or(9);
        Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX))
    });
    let aligned = |column: usize, text: String| {
        let line = Line::from(text);
        Cell::from(if headings[column].1 { line.right_aligned() } else { line })
    };
    let row = |(index, row): (usize, [String; N])| {
        let cells = row.into_iter().enumerate().map(|(column, text)| aligned(column, text));
        Row::new(cells.collect::<Vec<_>>()).style(style(index).unwrap_or_default())
    };
    let head = headings.iter().enumerate().map(|(column, (text, _))| aligned(column, (*text).to_owned()));
    let head = Row::new(head.collect::<Vec<_>>()).style(Style::new().add_modifier(Modifier::BOLD));
    let table = Table::new(cells.into_iter().enumerate().map(row), widths)
        .header(head)
        .column_spacing(2)
        .block(Block::new().borders(Borders::TOP).title(format!(" {title} ")));
    frame.render_widget(table, area);
}

#[cfg(test)]
mod tests {
    use super::*;
    use pfs_proto::v1::{Moment, ServerActivity, SessionActivity, TokenRates, TrafficRates};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn file(path: &str, written_bytes_per_s: f64, token_requests_per_s: f64, waiting: u64) -> FileActivity {
        FileActivity {
            path: path.into(),
            written_bytes_per_s,
            token_requests_per_s,
            waiting,
            ..FileActivity::default()
        }
    }

    fn now() -> ActivityReply {
        let traffic =
            TrafficRates { written_bytes_per_s: 3.0 * 1048576.0, requests_per_s: 40.0, ..TrafficRates::default() };
        let server = |number: u32, live| ServerActivity {
            name: format!("file-{number}"),
            live,
            heartbeat_age_ms: 61_234,
            traffic: live.then_some(traffic),
            ..ServerActivity::default()
        };
        ActivityReply {
            boot: 2,
            traffic: Some(traffic),
            tokens: Some(TokenRates { revokes_per_s: 7.0, waiting: 3, ..TokenRates::default() }),
            servers: vec![server(0, true), server(1, false)],
            hottest_files: vec![
                file("/big", 1e6, 1.0, 0),
                file("/asked-of", 10.0, 50.0, 0),
                file("/wanted", 1.0, 2.0, 3),
            ],
            sessions: vec![SessionActivity { client_name: "rank 0".into(), ..SessionActivity::default() }],
            history: (0..50).map(|age| Moment { age_ms: age, written_bytes_per_s: 5.0, ..Moment::default() }).collect(),
            ..ActivityReply::default()
        }
    }

    fn drawn(view: &View, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, view)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn everything_is_on_the_screen() {
        let view = View { address: "here:1".into(), now: Some(now()), ..View::default() };
        let screen = drawn(&view, 120, 40);
        for text in [
            "1 of 2 file servers up",
            "written 3.00 MiB/s",
            "revokes 7.0/s",
            "3 waiting",
            "file-1",
            "down 1m 1s",
            "Hottest files",
            "/wanted",
            "rank 0",
            "q end",
        ] {
            assert!(screen.contains(text), "{text} is missing:\n{screen}");
        }
    }

    #[test]
    fn files_stand_in_the_order_that_was_asked_for() {
        for (order, expected) in [
            (Order::Heat, ["/big", "/asked-of", "/wanted"]),
            (Order::Tokens, ["/asked-of", "/wanted", "/big"]),
            (Order::Contention, ["/wanted", "/big", "/asked-of"]),
        ] {
            let files = now().hottest_files;
            let paths: Vec<&str> = ordered(&files, order).iter().map(|file| file.path.as_str()).collect();
            assert_eq!(paths, expected, "{order:?}");
        }
    }

    /// Any window is possible, while somebody drags its edge.
    #[test]
    fn no_window_is_too_small() {
        let view = View { now: Some(now()), problem: Some("no answer".into()), ..View::default() };
        for (width, height) in [(1, 1), (3, 2), (20, 5), (80, 24), (300, 100)] {
            drawn(&view, width, height);
        }
        drawn(&View::default(), 10, 1);
    }
}
