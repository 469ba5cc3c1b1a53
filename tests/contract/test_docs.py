"""The reference pages say what the code says."""

import re
import subprocess
from pathlib import Path

import pytest

from aac_grpc.common.contract import platform_contract
from aac_grpc.common.ports import GRPC_PORTS
from aac_grpc.common.settings import ServiceSettings
from scripts.reference.__main__ import PAGES, ROOT, stale_pages
from scripts.reference.configuration import environment, services
from scripts.reference.methods import method_comments


def test_the_reference_pages_are_as_the_code_says() -> None:
    assert stale_pages() == [], "run scripts/docs"


def test_every_process_of_the_platform_stands_in_the_configuration_page() -> None:
    assert [service.name for service in services()] == list(GRPC_PORTS)


def test_every_setting_says_what_it_is_for() -> None:
    silent = {
        f"{service.name}: {variable}"
        for service in services()
        for variable, field in environment(service.settings)
        if not field.description
    }
    assert not silent


def test_two_services_that_share_a_variable_mean_the_same_by_it() -> None:
    """One environment serves all processes, so a name must not stand for two things."""
    kinds: dict[str, set[str]] = {}
    for service in services():
        for variable, field in environment(service.settings):
            kinds.setdefault(variable, set()).add(f"{field.annotation}")
    assert {variable: found for variable, found in kinds.items() if len(found) > 1} == {}
    meanings: dict[str, set[str]] = {}
    for service in services():
        for variable, field in environment(service.settings, beside=ServiceSettings):
            meanings.setdefault(variable, set()).add(f"{field.description}")
    assert {variable: found for variable, found in meanings.items() if len(found) > 1} == {}


def test_a_setting_that_a_service_has_with_another_default_stands_with_that_service() -> None:
    (gateway,) = (service for service in services() if service.name == "api-gateway")
    own = dict(environment(gateway.settings, beside=ServiceSettings))
    assert own["AAC_MAX_METADATA_BYTES"].default == 16 << 10
    assert "AAC_LOG_LEVEL" not in own


def test_every_method_of_the_contract_is_described() -> None:
    comments = method_comments()
    assert {policy.path for policy in platform_contract() if not comments.get(policy.path)} == set()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_names_no_path_of_the_machine_it_was_written_on(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert str(ROOT) not in text


def test_every_link_within_the_documents_leads_somewhere() -> None:
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert dead_links([ROOT / name for name in listed.split()]) == []


def dead_links(pages: list[Path]) -> list[str]:
    """Relative links to files or headings that there are not."""
    dead = []
    for page in pages:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            path, _, heading = link.partition("#")
            target = page.parent / path if path else page
            if "://" not in link and (not target.exists() or (heading and heading not in headings(target))):
                dead.append(f"{page.name}: {link}")
    return dead


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub names them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A page\n[a](page.md) [b](#a-page) [c](gone.md) [d](#gone) [e](https://example.com/gone)\n")
    assert dead_links([page]) == ["page.md: gone.md", "page.md: #gone"]
