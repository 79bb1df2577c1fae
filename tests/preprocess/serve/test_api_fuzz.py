"""The described API, fuzzed: whatever is asked, the answer is one that the description knows, and never a 500."""

import os
from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from preprocess.serve.app import create_app
from preprocess.serve.config import ServeConfig
from preprocess.serve.index.counts import read_runs
from tests.preprocess.jobs.small_jobs import past_job
from tests.preprocess.serve.small_root import KEYS, URL, append, make_root

JOB = "0" * 16
HOST = "127.0.0.1:8765"
SETTINGS = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "40")),
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)
MOSTLY = st.sampled_from([True, True, True, False])
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    root = make_root(tmp_path_factory.mktemp("root"))
    append(root, [b"torn\n"])
    app = create_app(ServeConfig(root=root))
    app.state.index.catch_up()
    return app


def made_for(app):
    """Every operation of the description, by name."""
    document = schemathesis.openapi.from_asgi("/api/openapi.json", app, headers={"Host": HOST})
    operations = [result.ok() for result in document.get_all_operations()]
    return {operation.label: operation for operation in operations}


def test_any_request_gets_an_answer(app):
    with app.state.index.reading() as db:
        runs = [run.code for run in read_runs(db)]
    answers = Counter()

    def ask(case, draw):
        case.headers.update({"Host": HOST, "Origin": URL})
        # what is really there is what most code is about
        if "run" in case.query and draw.draw(MOSTLY):
            case.query["run"] = draw.draw(st.sampled_from(runs))
        if "key" in case.query and draw.draw(MOSTLY):
            case.query["key"] = draw.draw(st.sampled_from(KEYS))
        # to resume one would run a command
        if "id" in case.path_parameters and case.method != "POST" and draw.draw(MOSTLY):
            past_job(app.state.root, JOB)
            case.path_parameters["id"] = JOB
        answer = case.call()
        case.validate_response(answer, checks=CHECKS)
        answers[case.operation.label, answer.status_code] += 1

    operations = made_for(app)
    assert len(operations) > 10
    for operation in operations.values():
        SETTINGS(given(case=operation.as_strategy(), draw=st.data())(ask))()
    answered = {label for (label, status), _ in answers.items() if status == 200}
    assert {label for label in operations if label.startswith("GET")} <= answered
    assert answers["DELETE /api/v1/jobs/{id}", 204] > 5


def test_requests_against_the_description_get_an_answer_too(app):
    answers = Counter()

    def ask(case):
        case.headers.update({"Host": HOST, "Origin": URL})
        answer = case.call()
        case.validate_response(answer, checks=CHECKS)
        answers[answer.status_code] += 1

    for operation in made_for(app).values():
        if operation.query or operation.body:  # of a path, every text is as described
            against = operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)
            SETTINGS(given(case=against)(ask))()
    assert answers[422] > 50
