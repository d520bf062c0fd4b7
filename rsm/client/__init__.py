"""How a program talks to a machine: typed proxies, answers on their way, pipelines, events."""
