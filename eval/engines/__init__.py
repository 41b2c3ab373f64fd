"""A database in shards, searched on several machines: what they hold, what each answers, how answers become one."""
