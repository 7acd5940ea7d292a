//! A drill to try: an archive made live on this machine.
