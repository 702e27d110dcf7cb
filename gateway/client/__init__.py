"""The buyer: fetch a URL, pay within a budget, keep tokens.

::

    budget = Budget(parse_amount("100 sat"))
    async with Buyer(payer, budget=budget, tokens=FileTokenStore(), networks={"regtest"}) as buyer:
        async with buyer.get("http://127.0.0.1:8402/quotes") as answer:
            print(answer.status, answer.purchase, await answer.read())
"""

from gateway.client.budget import Budget
from gateway.client.buyer import Answer, Buyer, Quote
from gateway.client.offers import Offer
from gateway.client.purchases import Purchase, Source
from gateway.client.token_file import FileTokenStore
from gateway.client.tokens import MemoryTokenStore, Token, TokenStore

__all__ = [
    "Answer",
    "Budget",
    "Buyer",
    "FileTokenStore",
    "MemoryTokenStore",
    "Offer",
    "Purchase",
    "Quote",
    "Source",
    "Token",
    "TokenStore",
]
