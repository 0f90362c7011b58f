//! From a host's name to a TCP connection: its addresses are tried side by side, each a little after the one before
//! (RFC 8305). A way that swallows everything, IPv6 most often, then costs a quarter of a second and not the connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpSocket, TcpStream, lookup_host};

use crate::env::Env;

/// The next address is tried when nothing came of the one before for so long (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// So many addresses of a host are tried.
const MOST: usize = 8;

/// Connects to one of the addresses of a host. Tells how long TCP's own handshake took: a round trip.
///
/// # Errors
/// The name is not known, or the last failure of any of its addresses. Not bounded in time.
pub(super) async fn dial(env: &Env, host: &str, port: u16) -> io::Result<(TcpStream, Duration)> {
    let addresses = in_turn(lookup_host((host, port)).await?.collect());
    race(env, addresses, |address| attempt(env, address)).await
}

async fn attempt(env: &Env, address: SocketAddr) -> io::Result<(TcpStream, Duration)> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A peer that vanished without a word is noticed; our own idle timeout is the tighter bound.
    socket.set_keepalive(true)?;
    let asked = env.now();
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok((stream, env.now().saturating_sub(asked)))
}

/// The addresses in the resolver's order, but the families in turn (RFC 8305 §4).
fn in_turn(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut all = Vec::new();
    while all.len() < MOST {
        let before = all.len();
        all.extend([first.next(), second.next()].into_iter().flatten());
        if all.len() == before {
            break;
        }
    }
    all.truncate(MOST);
    all
}

/// The first attempt that succeeds. The others are dropped.
async fn race<T, F: Future<Output = io::Result<T>>>(
    env: &Env,
    addresses: Vec<SocketAddr>,
    attempt: impl Fn(SocketAddr) -> F,
) -> io::Result<T> {
    let mut waiting = addresses.into_iter();
    let mut under_way = FuturesUnordered::new();
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    loop {
        if let Some(address) = waiting.next() {
            under_way.push(attempt(address));
        }
        let ended = if waiting.len() == 0 {
            under_way.next().await
        } else {
            match env.within(HEAD_START, under_way.next()).await {
                Some(ended) => ended,
                None => continue,
            }
        };
        match ended {
            Some(Ok(connected)) => return Ok(connected),
            Some(Err(e)) => last = e,
            None => return Err(last),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn addresses(all: &[&str]) -> Vec<SocketAddr> {
        all.iter().map(|a| a.parse().expect("an address")).collect()
    }

    #[test]
    fn the_families_take_turns_and_the_resolvers_first_stays_the_first() {
        let all = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "10.0.0.1:1", "10.0.0.2:1"]);
        let mixed = addresses(&["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1", "[::3]:1"]);
        assert_eq!(in_turn(all), mixed);
        assert_eq!(in_turn(addresses(&["10.0.0.1:1", "[::1]:1"])), addresses(&["10.0.0.1:1", "[::1]:1"]));
        assert_eq!(in_turn(Vec::new()), []);
        let many: Vec<SocketAddr> = (1..100).map(|n| SocketAddr::from(([10, 0, 0, 1], n))).collect();
        assert_eq!(in_turn(many).len(), MOST);
    }

    /// What becomes of each address: refused at once, never anything, or connected after so long. Tells which were
    /// tried, in which order, and when it was over.
    async fn tried(
        fates: &[(&str, Option<io::Result<Duration>>)],
    ) -> (Option<String>, Vec<String>, Duration) {
        let env = Env::system();
        let begun = env.now();
        let seen = RefCell::new(Vec::new());
        let fate = |address: SocketAddr| {
            let name = address.to_string();
            seen.borrow_mut().push(name.clone());
            let of = fates.iter().find(|(a, _)| *a == name).expect("one of them");
            let wait = match &of.1 {
                None => None,
                Some(Ok(wait)) => Some(Ok(*wait)),
                Some(Err(e)) => Some(Err(e.kind())),
            };
            let env = env.clone();
            async move {
                match wait {
                    None => std::future::pending().await,
                    Some(Err(kind)) => Err(io::Error::from(kind)),
                    Some(Ok(wait)) => {
                        env.sleep(wait).await;
                        Ok(name)
                    }
                }
            }
        };
        let all = addresses(&fates.iter().map(|(a, _)| *a).collect::<Vec<_>>());
        let won = race(&env, all, fate).await.ok();
        let took = env.now() - begun;
        (won, seen.into_inner(), took)
    }

    #[tokio::test(start_paused = true)]
    async fn a_way_that_swallows_everything_costs_a_quarter_of_a_second() {
        let ms = Duration::from_millis;
        let refused = || Some(Err(io::ErrorKind::ConnectionRefused.into()));
        let (black, white) = ("[2001:db8::1]:993", "192.0.2.1:993");
        let (won, seen, took) = tried(&[(black, None), (white, Some(Ok(ms(20))))]).await;
        assert_eq!((won.as_deref(), seen.len(), took.as_millis()), (Some(white), 2, 270));
        let (won, seen, took) = tried(&[(black, Some(Ok(ms(20)))), (white, Some(Ok(ms(1))))]).await;
        assert_eq!(
            (won.as_deref(), seen.len(), took.as_millis()),
            (Some(black), 1, 20),
            "the first is not overtaken"
        );
        let (won, _, took) = tried(&[(black, refused()), (white, Some(Ok(ms(20))))]).await;
        assert_eq!((won.as_deref(), took.as_millis()), (Some(white), 20), "a refusal is not waited upon");
        let (won, seen, _) = tried(&[(black, refused()), (white, refused())]).await;
        assert_eq!((won, seen.len()), (None, 2));
        assert_eq!(tried(&[]).await.0, None);
    }
}
