//! nginx as a reverse proxy and nothing else: TLS, one worker, `proxy_pass` over kept-alive connections, no log.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Result;
use rcgen::{CertificateParams, KeyPair};

use crate::load::Target;
use crate::measure::client_config;
use crate::measure::process::{await_listener, end, free_port, pin_family, run};

pub(crate) const NAME: &str = "nginx.localhost";

pub(crate) struct Nginx {
    child: Child,
    pub(crate) target: Target,
}

impl Nginx {
    /// Starts it before `origin`, on core 0. Its certificate is ECDSA P-256 as ours are.
    pub(crate) fn start(work: &Path, origin: SocketAddr, cookie: String) -> Result<Self> {
        let directory = work.join("nginx");
        std::fs::create_dir_all(&directory)?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![NAME.to_owned()])?.self_signed(&key)?.pem();
        std::fs::write(directory.join("certificate.pem"), &certificate)?;
        std::fs::write(directory.join("key.pem"), key.serialize_pem())?;
        let address = free_port()?;
        let configuration = format!(
            "daemon off;\nworker_processes 1;\nuser root;\npid {0}/nginx.pid;\nerror_log {0}/error.log;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n\
               access_log off;\n\
               client_body_temp_path {0}/body;\nproxy_temp_path {0}/proxy;\nfastcgi_temp_path {0}/fastcgi;\n\
               uwsgi_temp_path {0}/uwsgi;\nscgi_temp_path {0}/scgi;\n\
               keepalive_requests 100000000;\n\
               upstream application {{ server {origin}; keepalive 64; keepalive_requests 100000000; }}\n\
               server {{\n\
                 listen {address} ssl;\nserver_name {NAME};\n\
                 ssl_certificate {0}/certificate.pem;\nssl_certificate_key {0}/key.pem;\n\
                 ssl_protocols TLSv1.2 TLSv1.3;\n\
                 location / {{\n\
                   proxy_pass http://application;\nproxy_http_version 1.1;\nproxy_set_header Connection \"\";\n\
                   proxy_set_header Host $http_host;\n\
                 }}\n\
               }}\n\
             }}\n",
            directory.display(),
        );
        let file = directory.join("nginx.conf");
        std::fs::write(&file, configuration)?;
        run(Command::new("nginx").arg("-t").arg("-c").arg(&file))?;
        let child = Command::new("nginx").arg("-c").arg(&file).stderr(Stdio::null()).spawn()?;
        let process = child.id();
        let target = Target { address, process, tls: client_config(&certificate, true)?, name: NAME, cookie };
        let nginx = Self { child, target };
        await_listener(address)?;
        pin_family(process, "0")?;
        Ok(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}
