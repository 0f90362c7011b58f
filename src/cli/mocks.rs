//! The mocks as parts of this program: the target of the quickstart, and the servers of `mailwave mock`.

#[cfg(feature = "mock")]
pub(super) use with::{in_process, save, serve, token};
#[cfg(not(feature = "mock"))]
pub(super) use without::{in_process, save, serve, token};

#[cfg(feature = "mock")]
mod with {
    use std::future::Future;
    use std::path::Path;
    use std::pin::Pin;
    use std::sync::{Arc, Mutex, PoisonError};
    use std::time::Duration;

    use crate::cli::args::{MockEwsArgs, MockGraphArgs, MockImapArgs, MockServer};
    use crate::cli::talk::Talk;
    use crate::engine::Stop;
    use crate::env::Env;
    use crate::http::{Delivery, HttpClient, InProcess};
    use crate::mock::ews::EwsOptions;
    use crate::mock::graph::{GraphMock, GraphOptions};
    use crate::mock::imap::made::Law;
    use crate::mock::imap::{ImapMock, ImapOptions, SelfSigned};
    use crate::mock::server::{EwsServeOptions, ServeOptions, run_ews, run_graph};
    use crate::mock::{Wire, World};
    use crate::model::{Error, Kind, Result, Scope};
    use crate::target::graph::TokenSettings;

    /// Saves after so many requests: a killed quickstart loses at most these, as a service never would.
    const SAVE_EVERY: u64 = 25;

    /// The mocks of this process, to be saved at its end.
    static RUNNING: Mutex<Vec<Arc<GraphMock>>> = Mutex::new(Vec::new());

    /// The world as [`Env`] gives it.
    struct Here(Env);

    impl World for Here {
        fn now(&self) -> i64 {
            self.0.wall()
        }

        fn sleep(&self, d: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
            let env = self.0.clone();
            Box::pin(async move { env.sleep(d).await })
        }
    }

    fn failed(why: impl std::fmt::Display) -> Error {
        Error::new(Kind::Io, Scope::Run, format!("the mock: {why}"))
            .remedy("check its directory and its address, or remove its state to begin anew")
    }

    /// A file of JSON, as an option names it.
    fn read<T: serde::de::DeserializeOwned>(file: &Path) -> Result<T> {
        let text = std::fs::read_to_string(file).map_err(failed)?;
        serde_json::from_str(&text).map_err(|e| failed(format!("{}: {e}", file.display())))
    }

    /// A Graph mock in this process, its state kept in a directory.
    pub(in crate::cli) fn in_process(env: &Env, state: &Path) -> Result<Arc<dyn HttpClient>> {
        let options = GraphOptions { save_every: SAVE_EVERY, ..GraphOptions::default() };
        let mock = GraphMock::open(state, options, Arc::new(Here(env.clone()))).map_err(failed)?;
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(mock.clone());
        Ok(Arc::new(InProcess::new(env, move |request| {
            let mock = mock.clone();
            async move {
                match mock.handle(request).await {
                    Wire::Answered(response) => Delivery::Answered(response),
                    Wire::NeverArrived => Delivery::NeverArrived,
                    Wire::NoAnswer => Delivery::NoAnswer,
                }
            }
        })))
    }

    /// How to log in to the mock: any app, with the secret it documents.
    pub(in crate::cli) fn token() -> TokenSettings {
        TokenSettings::ClientCredentials {
            token_url: "https://login.microsoftonline.com/mock/oauth2/v2.0/token".to_owned(),
            client_id: "mailwave".to_owned(),
            client_secret: "secret".into(),
            scope: "https://graph.microsoft.com/.default".to_owned(),
        }
    }

    /// Saves every mock of this process.
    pub(in crate::cli) fn save() -> Result<()> {
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.iter().try_for_each(|mock| mock.save().map_err(failed))
    }

    /// Serves until it is asked to stop.
    pub(in crate::cli) async fn serve(
        server: &MockServer,
        env: &Env,
        talk: &Talk,
        stop: &Stop,
    ) -> Result<()> {
        match server {
            MockServer::Graph(args) => graph(args, env, talk, stop).await,
            MockServer::Ews(args) => ews(args, env, talk, stop).await,
            MockServer::Imap(args) => imap(args, env, talk, stop).await,
        }
    }

    async fn until_asked(env: &Env, stop: &Stop) {
        while !stop.asked() {
            env.sleep(Duration::from_millis(50)).await;
        }
    }

    async fn graph(args: &MockGraphArgs, env: &Env, talk: &Talk, stop: &Stop) -> Result<()> {
        let mut graph: GraphOptions = args.options.as_deref().map_or(Ok(GraphOptions::default()), read)?;
        graph.time_scale = args.time_scale.unwrap_or(graph.time_scale);
        let faults = args.faults.as_deref().map(read).transpose()?;
        let options = ServeOptions {
            listen: args.listen,
            tls: args.tls.then(|| args.ca.clone()),
            state: args.state.clone(),
            truth: args.truth,
            truth_token: None,
            graph,
        };
        let server = run_graph(options).await.map_err(failed)?;
        if let Some(file) = &args.record {
            server.mock().record(file).map_err(failed)?;
        }
        if let Some(script) = faults {
            server.mock().faults(script);
        }
        talk.data(&format!("base_url {}/v1.0", server.base_url()));
        if let (Some(addr), Some(token)) = (server.truth_addr(), server.truth_token()) {
            talk.data(&format!("truth http://{addr} {token}"));
        }
        talk.say(&toml(&server.base_url(), args.tls.then_some(args.ca.as_path())));
        until_asked(env, stop).await;
        server.stop().await.map_err(failed)
    }

    /// The target to put into a configuration.
    fn toml(base: &str, ca: Option<&Path>) -> String {
        let ca = ca.map_or_else(String::new, |ca| {
            let ca = ca.canonicalize().unwrap_or_else(|_| ca.to_owned());
            format!("ca_file = {:?}\n", ca.display().to_string())
        });
        format!(
            "The mock serves until it is stopped. As a target of a mailwave.toml (the secret is the word \"secret\"):\n\n\
             [target.mock]\nkind = \"graph\"\nbase_url = \"{base}/v1.0\"\nauthority = \"{base}\"\n{ca}\
             tenant = \"contoso.onmicrosoft.com\"\nclient_id = \"00000000-0000-0000-0000-000000000000\"\n\
             client_secret = {{ env = \"MAILWAVE_GRAPH_SECRET\" }}\n"
        )
    }

    async fn ews(args: &MockEwsArgs, env: &Env, talk: &Talk, stop: &Stop) -> Result<()> {
        let mut ews: EwsOptions = args.options.as_deref().map_or(Ok(EwsOptions::default()), read)?;
        let faults = args.faults.as_deref().map(read).transpose()?;
        ews.time_scale = args.time_scale.unwrap_or(ews.time_scale);
        let options = EwsServeOptions {
            listen: args.listen,
            tls: args.tls.then(|| args.ca.clone()),
            state: args.state.clone(),
            truth: args.truth,
            truth_token: None,
            ews,
        };
        let server = run_ews(options).await.map_err(failed)?;
        if let Some(script) = faults {
            server.mock().faults(script);
        }
        talk.data(&format!("url {}/EWS/Exchange.asmx", server.base_url()));
        if let (Some(addr), Some(token)) = (server.truth_addr(), server.truth_token()) {
            talk.data(&format!("truth http://{addr} {token}"));
        }
        talk.say("The mock serves until it is stopped. Any name logs in with the password \"secret\" and may impersonate any address.");
        until_asked(env, stop).await;
        server.stop().await.map_err(failed)
    }

    async fn imap(args: &MockImapArgs, env: &Env, talk: &Talk, stop: &Stop) -> Result<()> {
        let master = match &args.master {
            None => None,
            Some(name) => {
                let password = std::env::var("MAILWAVE_MOCK_PASSWORD")
                    .map_err(|_| failed("MAILWAVE_MOCK_PASSWORD is not set for the master user"))?;
                Some((name.clone(), password))
            }
        };
        let options = ImapOptions { master, ..ImapOptions::default() }.offering(&args.offer.join(" "));
        let mock = ImapMock::new(options, Arc::new(Here(env.clone())));
        if let Some(root) = &args.state {
            let users = mock.serve_maildirs(root).map_err(failed)?;
            talk.say(&format!("serving {users} mailboxes"));
        }
        if let Some(file) = &args.made {
            let law: Law = read(file)?;
            talk.say(&format!("serving {} mailboxes that are made up", law.mailboxes));
            mock.serve_made(law);
        }
        let tls = if args.tls {
            let made = SelfSigned::new(&["localhost", "127.0.0.1"]).map_err(failed)?;
            std::fs::write(&args.ca, &made.pem).map_err(failed)?;
            Some(made.config)
        } else {
            None
        };
        let server = mock.listen(args.listen, tls).await.map_err(failed)?;
        talk.data(&format!("listening {}", server.addr));
        until_asked(env, stop).await;
        server.stop();
        Ok(())
    }
}

#[cfg(not(feature = "mock"))]
mod without {
    use std::path::Path;
    use std::sync::Arc;

    use crate::cli::args::MockServer;
    use crate::cli::talk::Talk;
    use crate::engine::Stop;
    use crate::env::Env;
    use crate::http::HttpClient;
    use crate::model::{Error, Kind, Result, Scope};
    use crate::target::graph::TokenSettings;

    fn missing() -> Error {
        Error::new(Kind::Config, Scope::Run, "this program was built without its mocks")
            .remedy("build it with the feature `mock` (on by default)")
    }

    pub(in crate::cli) fn in_process(_: &Env, _: &Path) -> Result<Arc<dyn HttpClient>> {
        Err(missing())
    }

    pub(in crate::cli) fn token() -> TokenSettings {
        TokenSettings::Static("".into())
    }

    pub(in crate::cli) fn save() -> Result<()> {
        Ok(())
    }

    pub(in crate::cli) async fn serve(_: &MockServer, _: &Env, _: &Talk, _: &Stop) -> Result<()> {
        Err(missing())
    }
}
