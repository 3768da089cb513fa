from hub_fixture import hub  # noqa: F401  a fixture
