"""What a mail about an alert says: the customer's number, a link and the reasons. Never a name."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from html import escape
from uuid import UUID


@dataclass(frozen=True)
class ReasonLine:
    text: str
    points: int


@dataclass(frozen=True)
class AlertMail:
    """What one mail tells, and to whom. `delivery_id` is its identity: sent again it is the same mail."""

    delivery_id: UUID
    recipient: str
    customer_number: str
    link: str
    raised_on: date
    points: int
    reasons: Sequence[ReasonLine]
    created_at: datetime


class InvalidAddress(ValueError):
    """It is none that a mail can be sent to."""


def customer_link(template: str, *, public_url: str, customer_id: object) -> str:
    """Raises LookupError, ValueError, AttributeError for a template that names anything else."""
    return template.format(public_url=public_url, customer_id=customer_id)


def write_mail(mail: AlertMail, sender: str) -> EmailMessage:
    """The same bytes every time, so that servers recognise one that comes twice. Raises InvalidAddress."""
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = mail_address(mail.recipient)
    message["Subject"] = f"Customer {_line(mail.customer_number)} may leave: {mail.points} points"
    message["Date"] = mail.created_at
    message["Message-ID"] = f"<{mail.delivery_id}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    message.set_content(_text(mail))
    message.add_alternative(_html(mail), subtype="html")
    message.set_boundary(f"branchline-{mail.delivery_id.hex}")
    return message


def mail_address(stated: str) -> Address:
    """An address, user@domain, in ASCII. Raises InvalidAddress."""
    try:
        address = Address(addr_spec=stated)
    except Exception as fault:  # noqa: BLE001, RUF100 - the parser has errors of its own kinds for what it cannot read
        raise InvalidAddress from fault
    if not address.username or not address.domain or not stated.isascii() or not stated.isprintable():
        raise InvalidAddress
    return address


def _line(text: str) -> str:
    return " ".join(text.split())


def _points(points: int) -> str:
    return f"{points} point{'' if abs(points) == 1 else 's'}".replace("-", "−")


FOOTER = "You get this mail because you look after this customer. Nobody reads answers to it."


def _text(mail: AlertMail) -> str:
    reasons = "\n".join(f"- {_line(reason.text)} ({_points(reason.points)})" for reason in mail.reasons)
    return (
        f"Customer {_line(mail.customer_number)} may leave the bank: {_points(mail.points)} on {mail.raised_on}.\n\n"
        f"Why:\n{reasons}\n\n"
        f"The customer: {mail.link}\n\n"
        f"{FOOTER}\n"
    )


def _html(mail: AlertMail) -> str:
    reasons = "".join(f"<li>{escape(_line(r.text))} ({_points(r.points)})</li>" for r in mail.reasons)
    number = escape(_line(mail.customer_number))
    return (
        '<!doctype html>\n<html lang="en"><body>\n'
        f"<p>Customer <b>{number}</b> may leave the bank: <b>{_points(mail.points)}</b> on {mail.raised_on}.</p>\n"
        f"<p>Why:</p>\n<ul>{reasons}</ul>\n"
        f'<p><a href="{escape(mail.link)}">Customer {number}</a></p>\n'
        f"<p><small>{FOOTER}</small></p>\n"
        "</body></html>\n"
    )
