//! Where agents connect: a TCP port, or a socket in a folder of this machine.

use std::{io, os::unix::fs::FileTypeExt, os::unix::fs::PermissionsExt, path::Path, path::PathBuf};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener, UnixStream},
};

use crate::config::AgentsAt;

/// A listening socket.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpListener),
    Unix(InFolder),
}

/// A socket with a name in the file system, which goes with it.
#[derive(Debug)]
pub struct InFolder {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for InFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A connection of either sort.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl From<TcpListener> for Socket {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl Socket {
    pub async fn bind(at: &AgentsAt) -> io::Result<Self> {
        Ok(match at {
            AgentsAt::Tcp(at) => Self::Tcp(TcpListener::bind(at).await?),
            AgentsAt::Unix(path) => {
                clear(path).await?;
                let listener = UnixListener::bind(path)?;
                // Whoever may write to it may claim to be a host.
                let own = std::fs::Permissions::from_mode(0o600);
                std::fs::set_permissions(path, own)?;
                let path = path.clone();
                Self::Unix(InFolder { listener, path })
            }
        })
    }

    pub(super) async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                let _ = stream.set_nodelay(true);
                Box::new(stream)
            }
            Self::Unix(socket) => Box::new(socket.listener.accept().await?.0),
        })
    }
}

/// Takes away what a server left that ended without a farewell, and nothing else.
async fn clear(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(error) => Err(error),
    }
}
