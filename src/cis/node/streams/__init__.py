"""What members say on the streams of a connection, and how much of it is taken; `links` opens and serves them."""
