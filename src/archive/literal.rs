//! Python literals, the values of `backup.info`.
