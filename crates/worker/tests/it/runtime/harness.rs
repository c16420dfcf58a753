//! A host for one engine: answers operations from a closure and collects what the script did.

use std::collections::{BTreeMap, HashMap, VecDeque};

use portunus_worker::protocol::{
    Binding, BodySource, Event, FromWorker, Isolation, Limits, Load, Module, Operation, OperationError,
    OperationResult, Outcome, RequestHead, ResponseHead, ScriptError, ScriptErrorKind, ToWorker,
};
use portunus_worker::runtime::Engine;
use portunus_worker::typescript::to_javascript;

pub(super) type Answer = Result<OperationResult, OperationError>;

/// What became of one invocation.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) result: Result<Outcome, ScriptError>,
    pub(super) pass_through: bool,
    pub(super) logs: Vec<String>,
    pub(super) operations: Vec<Operation>,
    /// Script-side bodies, with how they ended.
    pub(super) bodies: HashMap<u64, (Vec<u8>, Option<String>)>,
    pub(super) settled: bool,
    pub(super) cpu_us: u64,
}

impl Ended {
    pub(super) fn response(&self) -> &ResponseHead {
        match &self.result {
            Ok(Outcome::Response(head)) => head,
            other => panic!("not a response: {other:?} {:?}", self.logs),
        }
    }

    pub(super) fn text(&self) -> String {
        let bytes = match &self.response().body {
            BodySource::None => Vec::new(),
            BodySource::Inline(bytes) => bytes.clone(),
            BodySource::Script(id) => self.bodies[id].0.clone(),
            BodySource::Host(id) => format!("host body {id}").into_bytes(),
        };
        String::from_utf8(bytes).unwrap()
    }

    pub(super) fn failure(&self) -> ScriptErrorKind {
        match &self.result {
            Err(error) => error.kind,
            Ok(other) => panic!("not a failure: {other:?}"),
        }
    }
}

pub(super) fn limits() -> Limits {
    Limits {
        cpu_ms: 30_000,
        memory_bytes: 64 << 20,
        stack_bytes: 256 << 10,
        subrequests: 50,
        output_bytes: 8 << 20,
        log_bytes: 64 << 10,
    }
}

pub(super) struct Host {
    pub(super) engine: Engine,
    pub(super) handlers: Vec<String>,
    next_call: u64,
    now_ms: f64,
    /// Host-side bodies: chunks still to be read.
    pub(super) sources: HashMap<u64, VecDeque<Vec<u8>>>,
}

pub(super) struct Setup {
    pub(super) modules: Vec<(&'static str, String)>,
    /// Modules that are not compiled.
    pub(super) data: Vec<(&'static str, String)>,
    pub(super) bindings: BTreeMap<String, Binding>,
    pub(super) limits: Limits,
    pub(super) isolation: Isolation,
}

impl Setup {
    pub(super) fn new(source: &str) -> Self {
        Self {
            modules: vec![("worker.ts", source.to_owned())],
            data: Vec::new(),
            bindings: BTreeMap::new(),
            limits: limits(),
            isolation: Isolation::Request,
        }
    }

    pub(super) fn bind(mut self, name: &str, binding: Binding) -> Self {
        self.bindings.insert(name.to_owned(), binding);
        self
    }

    pub(super) fn load(self) -> Result<Host, ScriptError> {
        let mut engine = Engine::prepare().unwrap();
        let modules = self
            .modules
            .iter()
            .map(|(name, source)| Module { name: (*name).to_owned(), code: to_javascript(name, source).unwrap() });
        let data = self.data.iter().map(|(name, text)| Module { name: (*name).to_owned(), code: text.clone() });
        let load = Load {
            modules: modules.chain(data).collect(),
            bindings: self.bindings,
            limits: self.limits,
            isolation: self.isolation,
            random_seed: 7,
            now_ms: 1_700_000_000_000.0,
        };
        let mut out = Vec::new();
        engine.handle(ToWorker::Load(load), &mut out);
        for message in out {
            match message {
                FromWorker::Loaded { handlers } => {
                    let sources = HashMap::new();
                    return Ok(Host { engine, handlers, next_call: 1, now_ms: 1_700_000_000_000.0, sources });
                }
                FromWorker::LoadFailed(error) => return Err(error),
                _ => {}
            }
        }
        panic!("loading gave no answer");
    }
}

pub(super) fn request(url: &str) -> RequestHead {
    RequestHead { method: "GET".into(), url: url.into(), headers: Vec::new(), cf: String::new(), body: None }
}

/// An answer for tests that expect no operations.
pub(super) fn nothing(operation: &Operation) -> Answer {
    panic!("unexpected operation {operation:?}")
}

impl Host {
    pub(super) fn get(&mut self, url: &str) -> Ended {
        self.run(Event::Fetch(request(url)), nothing)
    }

    pub(super) fn fetch(&mut self, head: RequestHead, answer: impl FnMut(&Operation) -> Answer) -> Ended {
        self.run(Event::Fetch(head), answer)
    }

    /// Runs one invocation to its end, answering operations in the order they were asked.
    pub(super) fn run(&mut self, event: Event, mut answer: impl FnMut(&Operation) -> Answer) -> Ended {
        let call = self.next_call;
        self.next_call += 1;
        let mut ended = Ended {
            result: Err(ScriptError {
                kind: ScriptErrorKind::Exception,
                message: "no answer".into(),
                stack: String::new(),
            }),
            pass_through: false,
            logs: Vec::new(),
            operations: Vec::new(),
            bodies: HashMap::new(),
            settled: false,
            cpu_us: 0,
        };
        let mut inbox = VecDeque::from([ToWorker::Invoke { call, now_ms: self.now_ms, event }]);
        let mut timers: Vec<(f64, u64)> = Vec::new();
        while let Some(message) = inbox.pop_front().or_else(|| self.next_timer(&mut timers)) {
            let mut out = Vec::new();
            self.engine.handle(message, &mut out);
            for message in out {
                match message {
                    FromWorker::Done { outcome, cpu_us, .. } => (ended.result, ended.cpu_us) = (Ok(outcome), cpu_us),
                    FromWorker::Fail { error, pass_through, cpu_us, .. } => {
                        (ended.result, ended.pass_through, ended.cpu_us) = (Err(error), pass_through, cpu_us);
                    }
                    FromWorker::Settled { .. } => ended.settled = true,
                    FromWorker::Log { message, .. } => ended.logs.push(message),
                    FromWorker::HostCall { op, operation: Operation::Sleep { ms }, .. } => {
                        timers.push((self.now_ms + f64::from(ms), op));
                    }
                    FromWorker::HostCall { op, operation, .. } => {
                        let result = self.answer(&operation, &mut ended, &mut answer);
                        self.now_ms += 1.0;
                        inbox.push_back(ToWorker::Resolve { op, now_ms: self.now_ms, result });
                        ended.operations.push(operation);
                    }
                    FromWorker::Loaded { .. } | FromWorker::LoadFailed(_) => panic!("loaded twice"),
                }
            }
        }
        ended
    }

    /// The timer that is due first, once nothing else is to be done.
    fn next_timer(&mut self, timers: &mut Vec<(f64, u64)>) -> Option<ToWorker> {
        timers.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (due, op) = timers.pop()?;
        self.now_ms = self.now_ms.max(due);
        Some(ToWorker::Resolve { op, now_ms: self.now_ms, result: Ok(OperationResult::Unit) })
    }

    fn answer(
        &mut self,
        operation: &Operation,
        ended: &mut Ended,
        answer: &mut impl FnMut(&Operation) -> Answer,
    ) -> Answer {
        match operation {
            Operation::BodyRead { body } => {
                Ok(OperationResult::Chunk(self.sources.get_mut(body).and_then(VecDeque::pop_front)))
            }
            Operation::BodyCancel { .. } => Ok(OperationResult::Unit),
            Operation::BodyWrite { body, chunk, error, .. } => {
                let entry = ended.bodies.entry(*body).or_default();
                entry.0.extend_from_slice(chunk);
                entry.1.clone_from(error);
                Ok(OperationResult::Unit)
            }
            other => answer(other),
        }
    }
}

/// Evaluates each piece of script as the body of an async function and compares what it returns, as text.
pub(super) fn check_table(cases: &[(&str, &str)]) {
    let mut host = table_host(cases.iter().map(|(body, _)| *body));
    let mut wrong = Vec::new();
    for (at, (body, expected)) in cases.iter().enumerate() {
        let ended = host.run(Event::Fetch(request(&format!("https://a.test/{at}"))), nothing);
        let got = ended.text();
        if got != *expected {
            wrong.push(format!("{body}\n    expected {expected}\n    got      {got}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

pub(super) fn table_host<'a>(bodies: impl Iterator<Item = &'a str>) -> Host {
    let mut source = String::from(
        "const raises = async (work) => { try { await work(); return 'no error'; } catch (e) { return e.name; } };\n\
         const bytes = (...all) => new Uint8Array(all);\n\
         const hex = (data) => [...new Uint8Array(data.buffer ?? data)].map((b) => b.toString(16).padStart(2, '0')).join('');\n\
         const cases = [\n",
    );
    for body in bodies {
        source.push_str(&format!("async (request, env, ctx) => {{ {body} }},\n"));
    }
    source.push_str(
        "];\nexport default { async fetch(request, env, ctx) {\n\
         let text; try { text = String(await cases[new URL(request.url).pathname.slice(1)](request, env, ctx)); }\n\
         catch (e) { text = `threw ${e}`; }\n return new Response(text); } };",
    );
    let mut setup = Setup::new(&source);
    setup.modules[0].0 = "worker.js";
    setup.load().unwrap()
}
