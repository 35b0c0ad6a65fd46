"""Plain questions, as a first user asks them: other forms of the questions that questions.py knows, pronouns, greetings, and what a model of drawings can only decline.

A form is a line of a list; what stands in braces is filled in. `said` then writes it as people do: with contractions, in lower case, without a mark, politely.
"""

import itertools
import random
import re
from dataclasses import dataclass

from drawings import COLORS
from questions import KINDS, NUMBERS, a, article, capital, many, place, plural, questions, reading, text_questions, where

DECLINED = 'I only know drawings of things: ask me what is in the picture.'
DECLINED_BLIND = 'I only know drawings of things: show me one and ask me about it.'
DOING = 'I only know what things are, not what they do.'
ORIGIN = 'I do not know where a picture comes from.'
BLIND = 'There is no picture. Show me a drawing and ask me about it.'
AMBIGUOUS = 'There are several things: ask me about one of them.'
WHO = 'I am a very small LLaVA. I know drawings of things.'
SKILLS = 'I name the things in a drawing, their colors, their places and how many there are.'
DRAWN = 'I only know drawings, and take this for one.'
DOUBT = 'I am not sure: I can be wrong.'
ALL = 'That is all I see.'

# What is in the picture: of one thing its name, of several a list.
WHAT = [
    'What is it?', 'What is this?', 'What is that?', 'what this', 'What is in it?', 'What is in the image?', 'What is on the picture?', 'What is on this image?', 'What is here?',
    'What can you see?', 'What can you see in this picture?', 'What do you see in the image?', 'What do you see in this drawing?', 'What do you see there?', 'What do we see?', 'What do we see here?',
    'What am I seeing?', 'What am I looking at here?', 'What is this a picture of?', 'What is this a drawing of?', 'What is it a drawing of?', 'What is that a picture of?', 'This is a picture of what?',
    'What is the picture of?', 'What is drawn here?', 'What did I draw?', 'What was drawn?', 'What does the picture show?', 'What does this image show?', 'What does it show?', 'What is pictured?',
    'What is shown?', 'What is shown in the drawing?', 'What is visible?', 'What is visible in the image?', 'Tell me what this is.', 'Tell me what you see.', 'Tell me what is in the picture.',
    'Say what is in the image.', 'Say what you see.', 'Can you tell me what this is?', 'Can you tell me what is in the picture?', 'Can you tell me what you see?', 'Could you tell me what is drawn here?',
    'Can you say what it is?', 'Do you know what it is?', 'Do you recognize this?', 'Can you recognise it?', 'Do you recognise the drawing?', 'Can you identify this?', 'Identify it.', 'Identify what is shown.',
    'Name it.', 'Name what you see.', 'Name everything in the picture.', 'What would you call this?', 'How is this called?', 'What is this called?', 'What is the name of this thing?', 'Which thing is this?',
    'What object is this?', 'What objects do you see?', 'Which things are in the picture?', 'Which things do you see?', 'What sort of picture is this?', 'What is the subject?', 'List the things.',
    'List what is in the picture.', 'List everything you see.', 'List all objects.', 'I want to know what this is.', 'I would like to know what is in the picture.', 'Guess what this is.', 'Any idea what this is?',
    'What is going to be in this picture?', 'What have we got here?', 'What is in front of you?', 'Look at this: what is it?', 'Look at the picture. What do you see?', 'The picture shows what?', 'It shows what?',
    'What does this look like?', 'What does it look like to you?', 'What might it be?', 'What could this be?', 'what', 'What?', 'picture?', 'and this?', 'What stuff is in the picture?', 'What items do you see?']
DESCRIBE = [
    'Describe it.', 'Describe this.', 'Describe.', 'Describe this drawing.', 'Describe the drawing in detail.', 'Describe what you see.', 'Describe what is in the picture.', 'Describe everything.',
    'Describe the scene.', 'Can you describe it?', 'Can you describe the picture?', 'Can you describe this image in detail?', 'Could you describe the image?', 'Could you describe the drawing, please?',
    'Would you describe this?', 'Please describe the picture.', 'Please describe this image.', 'Give a description.', 'Give me a description of the picture.', 'Give me a description of it.',
    'Write a description of this image.', 'Tell me about the image.', 'Tell me about this drawing.', 'Tell me about the picture, please.', 'Tell me everything about the picture.', 'Tell me all that you see.',
    'What does the picture look like?', 'How would you describe this picture?', 'Caption this.', 'Write a caption.', 'Give me a caption for the image.', 'Explain the picture.', 'Explain what you see.',
    'Summarize the picture.', 'I need a description of this image.', 'Tell me more about the picture.', 'What can you say about the picture?', 'Say something about the picture.', 'Details?', 'Describe it in detail.']
HOW_MANY = ['How many are there?', 'How many?', 'How many do you see?', 'How many of them are there?', 'How many are in the picture?', 'How many can you see?', 'Can you count them?', 'Count them.', 'What number of them is there?', 'How many are these?']
ITS_COLOR = [
    'What color is it?', 'What color is this?', 'What color is that?', 'What is its color?', 'Which color is it?', 'Which color does it have?', 'What color does it have?', 'And its color?', 'And the color?', 'color?',
    'What is the color?', 'What is the color of it?', 'What is the color of this?', 'Tell me its color.', 'Tell me the color.', 'Can you tell me what color it is?', 'Do you know what color it is?', 'In what color is it?',
    'Of what color is it?', 'What color did they draw it in?', 'What color has it?', 'Name its color.', 'What color would you say it is?', 'It is what color?', 'And what color is it?']
THEIR_COLOR = ['What color are they?', 'What is their color?', 'Which color are they?', 'Which color do they have?', 'What color do they have?', 'And their color?', 'Tell me their color.', 'What color are these?', 'Can you tell me what color they are?']
ITS_PLACE = ['Where is it?', 'Where is this?', 'Where in the picture is it?', 'Where do you see it?', 'Where can I see it?', 'And where is it?', 'Tell me where it is.', 'Can you tell me where it is?', 'In which part of the picture is it?', 'On which side is it?', 'Where does it stand?', 'Where is it drawn?', 'Where exactly is it?', 'What is its place?', 'Which place does it have?']
ITS_KIND = ['What kind of thing is that?', 'What sort of thing is it?', 'What type of thing is this?', 'What kind of object is it?', 'What category is it?', 'What kind is it?', 'And what kind of thing is it?', 'What group does it belong to?']
OF_KIND = ['What kind of {kind} is it?', 'What kind of {kind} is this?', 'What sort of {kind} is it?', 'What {kind} is it?', 'What {kind} is this?', 'Which {kind} is it?', 'Which {kind} do you see?', 'Which {kind} is in the picture?', 'Name the {kind}.']
ITS_FACT = ['Tell me about it.', 'Tell me more about it.', 'Tell me something about it.', 'What do you know about it?', 'What can you say about it?', 'What else do you know about it?', 'Say something about it.', 'What is it for?', 'What is it used for?', 'What is special about it?', 'Can you tell me more about it?', 'Tell me more.', 'Give me a fact about it.', 'Do you know anything about it?', 'Explain it.', 'Why is it known?']
IS_IT = ['Is it {it}?', 'Is this {it}?', 'Is that {it}?', 'Is the thing in the picture {it}?', 'Is this a drawing of {it}?', 'Is it a picture of {it}?', 'Does the picture show {it}?', 'Would you say it is {it}?', 'Could it be {it}?', 'I think it is {it}. Right?', 'It is {it}, right?', 'This is {it}, is it not?', 'Do you think this is {it}?', 'So it is {it}?']
ANY = ['Are there any {them}?', 'Are there {them}?', 'Do you see any {them}?', 'Can you see {them}?', 'Is there {it}?', 'Is there {it} in the picture?', 'Is any {bare} in the picture?', 'Are there {them} in the picture?', 'Does the picture have {them}?', 'Any {them}?', 'Do you see {it}?']
IS_DRAWN = ['Is it a drawing?', 'Is this a picture?', 'Is it a photo?', 'Is this a photograph?', 'Is this picture a photo?', 'Is that a real photo?', 'Is this real?', 'Is it real?', 'Is this a real picture or a drawing?', 'Is it drawn?', 'Is this a painting?', 'Is it an icon?', 'Was this drawn?', 'Photo or drawing?', 'Is this a cartoon?']
AND_THAT = ['And {it}?', 'What about {it}?', 'And what about {it}?', 'How about {it}?', 'and {it}']
MORE = ['Anything else?', 'What else?', 'And what else?', 'Is there anything else?', 'Is that all?', 'Is that everything?', 'What else do you see?', 'What else is in the picture?', 'What more do you see?', 'Nothing else?', 'Do you see anything else?', 'Was that all?', 'Something else?']
SURE = ['Are you sure?', 'Really?', 'Is that right?', 'Are you certain?', 'Sure?', 'Is that true?', 'You are wrong.', 'That is wrong.', 'I do not think so.', 'No.', 'Are you sure about that?', 'I doubt it.', 'That is not right.', 'How do you know?', 'Do you really think so?']

# Other forms of what the model knows already: (pattern of the known question, forms); names of groups are filled in.
REPHRASED = [(re.compile(pattern), forms) for pattern, forms in [
    (r'What is this\?|What is in (this|the) picture\?|What do you see\?|What is shown here\?|What thing is this\?|What things are in the picture\?|Name the thing in the picture\.', WHAT),
    (r'Describe .*', DESCRIBE),
    (r'What kind of thing is (this|it)\?', ITS_KIND),
    (r'(?:Is there|Do you see) (?P<it>.+?)(?: in the picture| in this image)?\?', [
        'Can you see {it}?', 'Can you see {it} in the picture?', 'Do you see {it} there?', 'Do you see {it} in the image?', 'Is {it} in the picture?', 'Is {it} there?', 'Is {it} in it?', 'Is there {it} here?', 'Is there {it} in it?',
        'Is there {it} anywhere?', 'Is {it} shown?', 'Is {it} to be seen?', 'Does the picture show {it}?', 'Does it have {it}?', 'Does the picture have {it}?', 'Does the image contain {it}?', 'Are there any {them}?',
        'Are there {them}?', 'Are there any {them} in the picture?', 'Do you see any {them}?', 'Can you see any {them}?', 'Any {them}?', 'Any {them} here?', 'Can you find {it}?', 'Find {it}.', 'Tell me whether there is {it}.',
        'Can you tell me if there is {it}?', 'Have you seen {it}?', 'Is any {bare} there?', 'Is there any {bare}?', 'There is {it}, right?', 'Look for {it}.', 'I am looking for {it}. Is there one?', '{it}?']),
    (r'What colou?r is the background\?|What is the color of the background\?', [
        'Which color is the background?', 'What color has the background?', 'And the background?', 'What color is behind it?', 'Which color does the background have?', 'Tell me the color of the background.', 'What color is the ground?',
        'What is the background color?', 'The background color?', 'Can you tell me the color of the background?', 'How is the background?', 'What is the background like?', 'What is in the background?', 'What is behind it?']),
    (r'(?:What colou?r|Which color) (?P<are>is|are|does|do) the (?P<name>.+?)(?: have)?\?', [
        'What is the color of the {name}?', 'What color does the {name} have?', 'Which color is the {name}?', 'What color has the {name}?', 'Tell me the color of the {name}.', 'Can you tell me the color of the {name}?',
        'Can you see what color the {name} has?', 'The {name} is what color?', 'The color of the {name}?', 'And what color is the {name}?', '{name} color?', 'color of {name}', 'In what color is the {name} drawn?',
        'What color would you say the {name} is?', 'Do you know the color of the {name}?', 'What color is that {name}?', 'What color is this {name}?']),
    (r'How many (?P<them>things|objects) are .*', [
        'How many things do you see?', 'How many objects do you see?', 'How many items are there?', 'How many things are here?', 'How many things in all?', 'Count the things.', 'Count the objects in the picture.', 'Count everything.',
        'Can you count the things?', 'How many different things are in it?', 'What is the number of things?', 'How many things are shown?', 'How many objects can be seen?', 'Tell me how many things there are.']),
    (r'How many (?P<them>.+?) (?:are there|are in the picture|do you see)\?', [
        'How many {them} can you see?', 'How many {them}?', 'How many {them} are here?', 'How many {them} are shown?', 'How many {them} are in it?', 'How many {them} are in this image?', 'Count the {them}.', 'Can you count the {them}?',
        'Please count the {them}.', 'What is the number of {them}?', 'Number of {them}?', 'Tell me how many {them} there are.', 'Can you tell me how many {them} you see?', 'And how many {them} are there?', 'How many {them} have been drawn?']),
    (r'Where (?:in the picture )?(?:is|are) the (?P<name>.+)\?', [
        'Where do you see the {name}?', 'Where can I see the {name}?', 'In which part of the picture is the {name}?', 'On which side is the {name}?', 'Tell me where the {name} is.', 'Can you tell me where the {name} is?',
        'Where in the image is the {name}?', 'Find the {name}.', 'Show me where the {name} is.', 'And where is the {name}?', 'Where is that {name}?', 'Where exactly is the {name}?', 'What place does the {name} have?', 'where {name}']),
    (r'What is (?P<place>on the .+|at the .+|in the middle)\?', [
        'What do you see {place}?', 'What can you see {place}?', 'What thing is {place}?', 'Which thing is {place}?', 'What is there {place}?', 'Tell me what is {place}.', 'Name the thing {place}.', 'What is drawn {place}?', 'And what is {place}?']),
    (r'Which (?:thing )?is the largest\?|What is the largest thing\?', [
        'Which one is the largest?', 'What is the biggest thing?', 'Which is the biggest?', 'Which thing is the biggest?', 'What is largest?', 'Which is bigger than the others?', 'What is the largest object in the picture?', 'Name the largest thing.']),
    (r'What does it say\?|Which word is written here\?|What is written in the picture\?|Read the word\.', [
        'What is written?', 'What is written there?', 'What word is it?', 'What does the word say?', 'Read it.', 'Can you read it?', 'Can you read the word?', 'Read the text.', 'What does the picture say?', 'Which word do you see?',
        'What is the word?', 'What word do you read?', 'Tell me what is written.', 'Please read the word.', 'What does this say?']),
    (r'Is there a word.*', [
        'Is there a text?', 'Is there text in the picture?', 'Is something written?', 'Is anything written here?', 'Do you see a word?', 'Are there letters?', 'Are there any letters in it?', 'Can you see a word?', 'Is there writing?']),
    (r'What kind of thing is (?P<it>an? .+)\?', ['What is {it}?', 'What sort of thing is {it}?', 'What type of thing is {it}?', 'Tell me what {it} is.', 'Can you tell me what {it} is?']),
    (r'What do you know about (?P<it>.+)\?|Tell me something about (?P<it2>.+)\.|What can you say about (?P<it3>.+)\?', [
        'Tell me about {it}.', 'Tell me more about {it}.', 'Do you know anything about {it}?', 'What can you tell me about {it}?', 'Say something about {it}.', 'Give me a fact about {it}.', 'Can you tell me about {it}?']),
]]

# (forms, answer where there is a picture, answer where there is none)
SHOW = 'Show me a drawing and ask me about it.'
ASK = 'Ask me what is in the picture.'
TALK = [
    (['Hi', 'Hi!', 'Hello', 'Hello!', 'Hey', 'Hey there', 'Hello there!', 'Hi, how do you do?', 'Good morning!', 'Good day', 'Good afternoon', 'Hello LLaVA', 'Hi LLaVA!', 'Hiya', 'Hallo', 'Greetings!', 'Hello, my friend', 'yo', 'Hello, nice to meet you', 'Hello you', 'Hi everyone', 'Hello world'], f'Hello! {ASK}', f'Hello! {SHOW}'),
    (['Thanks', 'Thanks!', 'Thank you', 'Thank you.', 'Thank you very much!', 'Many thanks', 'Thanks a lot', 'thx', 'Thanks for that', 'Thank you for your help', 'Great, thanks', 'OK, thanks', 'That helps, thank you', 'Thank you so much', 'Perfect, thank you!', 'Thank you for the answer', 'Thanks, this was good', 'Thank you, very kind', 'Thank you, I see it now', 'Thanks, I know enough'], f'You are welcome. {ASK}', f'You are welcome. {SHOW}'),
    (['OK', 'Okay', 'Great', 'Good', 'Nice', 'Nice!', 'Very good', 'Cool', 'Well done', 'Well done!', 'Right', 'That is right.', 'Yes', 'Yes.', 'I see', 'Fine', 'Perfect', 'Good job', 'Correct', 'Wonderful!', 'Excellent', 'haha', 'Wow', 'Interesting', 'All right', 'Sounds good'], f'Good. {ASK}', f'Good. {SHOW}'),
    (['Bye', 'Bye!', 'Goodbye', 'Bye bye', 'See you', 'See you later', 'Good night', 'I have to go', 'That was all, bye', 'Until next time', 'Have a nice day', 'Farewell', 'ciao', 'See you tomorrow!'], 'Goodbye!', 'Goodbye!'),
    (['How are you?', 'How are you doing?', 'How do you feel?', 'How is it going?', 'Are you well?', 'How are things?', 'Hello, how are you?', 'Are you OK?', 'Hi, how are you?', 'How are you today?'], f'I am fine. {ASK}', f'I am fine. {SHOW}'),
    (['Who are you?', 'Who are you really?', 'What are you?', 'What is your name?', 'Tell me your name.', 'Do you have a name?', 'Are you a robot?', 'Are you a human?', 'Are you an AI?', 'Are you real?', 'Are you a person?', 'Are you a bot?', 'What kind of AI are you?', 'Which model is this?', 'What model are you?', 'What model is this?', 'Which model do I use?', 'Which model answers me?', 'Which AI is this?',
      'How big are you?', 'Who made you?', 'Who built you?', 'Tell me about you.', 'Introduce yourself.', 'Are you LLaVA?', 'Are you GPT?', 'Are you ChatGPT?', 'Am I talking to a machine?', 'Who am I talking to?', 'What is LLaVA?', 'Where do you come from?', 'Say who you are.'], WHO, WHO),
    (['What can you do?', 'What do you do?', 'What can you do for me?', 'What do you know?', 'Help', 'Help!', 'Help me', 'Can you help me?', 'I need help', 'How do you work?', 'How do I use this?', 'What can I ask?', 'What may I ask you?', 'What should I do?', 'What should I ask you?', 'What are you good at?', 'What are you for?', 'What is this for?',
      'What questions can you answer?', 'Which questions do you know?', 'How can you help?', 'What are your skills?', 'Tell me what you can do.', 'Can you see?', 'Can you see pictures?', 'Can you answer questions?', 'What do you understand?', 'What now?', 'How do I start?', 'What sort of things can I ask?', 'Which things can I ask about?', 'What am I allowed to ask?', 'Which questions work?', 'What tasks can you do?', 'Show me what you can do.'], SKILLS, SKILLS),
]

# What it cannot do; {thing}: a name, {things}: its plural, {name}, {place}, {word}, {n}: of the lists below.
NAMES = ['Anna', 'Bob', 'Mary', 'Peter', 'John', 'Einstein', 'Napoleon', 'Shakespeare', 'Mozart', 'Picasso', 'Obama', 'Madonna', 'Newton', 'Maria', 'Tom', 'Julia', 'Caesar', 'Darwin']
PLACES = ['Germany', 'Italy', 'Spain', 'London', 'Berlin', 'Paris', 'America', 'China', 'Japan', 'Rome', 'Brazil', 'Africa', 'New York', 'India', 'the world', 'my town', 'Europe', 'Canada']
LANGUAGES = ['German', 'Spanish', 'Italian', 'Latin', 'Chinese', 'Japanese', 'Russian', 'English', 'Greek', 'Arabic', 'Dutch', 'Portuguese']
WORDS = ['love', 'time', 'water', 'music', 'friend', 'school', 'work', 'money', 'gravity', 'history', 'math', 'life', 'summer', 'winter', 'peace', 'war', 'science', 'art', 'sleep', 'health', 'football', 'food', 'dinner', 'my mother', 'my day', 'the sea', 'the universe', 'a hero', 'a king', 'computers', 'happiness', 'philosophy', 'the internet', 'politics', 'numbers', 'electricity', 'relativity', 'evolution', 'dark matter', 'cheap hotels', 'dreams', 'the brain', 'cooking', 'taxes', 'chess', 'a good film', 'rivers', 'atoms', 'red wine', 'long walks', 'old castles', 'small talk']
DOES = ['eating', 'running', 'sleeping', 'flying', 'sitting', 'playing', 'smiling', 'looking', 'moving', 'standing', 'jumping', 'waiting', 'swimming', 'falling', 'singing', 'burning']
FEELS = ['sad', 'angry', 'tired', 'hungry', 'afraid', 'alive', 'dead', 'old', 'young', 'clever', 'dangerous', 'friendly', 'expensive', 'good', 'bad', 'heavy', 'fast', 'dirty', 'warm', 'cold', 'male', 'female', 'hot', 'broken', 'new', 'nice', 'ugly', 'pretty']
BEYOND = [
    'Write a {word} poem.', 'Write a poem about {word}.', 'Write a poem about {things}.', 'Write me a story.', 'Write a story about a {thing}.', 'Write a song about {word}.', 'Write an essay about {word}.', 'Write a letter to {name}.', 'Write an email to {name}.',
    'Make a rhyme.', 'Make up a story about {word}.', 'Tell a joke.', 'Tell me a story.', 'Tell me a story about the {thing}.', 'Tell me a joke about {things}.', 'Sing a song.', 'Sing for me.', 'Do you know a joke?', 'Make me laugh.', 'Entertain me.', 'Compose a song.', 'Give me a poem.',
    'What is {n} plus {n}?', 'What is {n} + {n}?', 'What is {n}+{n}?', 'What is {n} times {n}?', 'What is {n} * {n}?', 'What is {n} minus {n}?', 'What is {n}-{n}?', '{n}+{n}', '{n} + {n} = ?', '{n} times {n}', 'How much is {n} and {n}?', 'How much is {n}+{n}?', 'Calculate {n} divided by {n}.', 'Compute {n}*{n}.',
    'Add {n} and {n}.', 'What is the square root of {n}?', 'What is half of {n}?', 'Is {n} a prime number?', 'Solve x + {n} = {n}.', 'Count to {n}.', 'Count from one to {n}.', 'What comes after {n}?', '{n}', 'Can you add numbers?', 'Can you do math?', 'Do my homework.',
    'Who is {name}?', 'Who was {name}?', 'Do you know {name}?', 'Tell me about {name}.', 'When was {name} born?', 'How old is {name}?', 'Who is the king of {place}?', 'Who is the president of {place}?', 'Who is the mayor of {place}?', 'Who rules {place}?', 'Who won the election in {place}?', 'Who is your boss?', 'Who won the game?',
    'Who is the best singer?', 'Who invented the {thing}?', 'Who discovered {word}?', 'Who wrote the Bible?', 'Who was the first man on the moon?', 'Who is the richest man in {place}?', 'Who is in charge?', 'Who am I?', 'What is my name?', 'Where do I live?', 'How old am I?', 'Do you know me?', 'Where is {place}?', 'Where is {name}?',
    'What is the capital of {place}?', 'How many people live in {place}?', 'How far is it to {place}?', 'What language do they speak in {place}?', 'How do I get to {place}?', 'What is {place} known for?', 'When is the next train to {place}?', 'Book a flight to {place}.', 'Tell me about {place}.', 'Which is the largest city in {place}?',
    'What time is it in {place}?', 'What is the time?', 'What time is it now?', 'Tell me the time.', 'How late is it?', 'What day is today?', 'What is the date?', 'What year is this?', 'Which month is it?', 'When is Christmas?', 'Is it Monday?', 'How long is a day?', 'When does the shop open?',
    'How is the weather?', 'How is the weather in {place}?', 'Will it rain tomorrow?', 'Is it cold outside?', 'What is the temperature?', 'Is it raining?', 'Do I need an umbrella today?', 'What will the weather be tomorrow?',
    'Translate {word} to {language}.', 'Translate this to {language}.', 'Translate "{word}" into {language}.', 'Translate the sentence into {language}.', 'How do you say {word} in {language}?', 'What is {word} in {language}?', 'What is the {language} word for {word}?', 'Say it in {language}.', 'Do you speak {language}?', 'Can you speak {language}?', 'Answer in {language}.',
    'What does {word} mean?', 'How do you spell {word}?', 'Spell {word}.', 'Define {word}.', 'What is {word}?', 'Explain {word}.', 'Explain {word} to me.', 'What do you think about {word}?', 'What do you know about {word}?', 'Give me a synonym for {word}.', 'Teach me {word}.', 'Why is there {word}?', 'How does {word} work?', 'What is the meaning of {word}?',
    'Google {word}.', 'Google it.', 'Look it up.', 'Look up {word} on the internet.', 'Search for {word}.', 'Search the internet for {things}.', 'Open a website.', 'Open the browser.', 'Go to google.com', 'What is in the news?', 'What is the news today?', 'Show me the news.', 'Find a video about {word}.', 'What is the price of {word}?', 'How much does a {thing} cost?',
    'Where can I buy a {thing}?', 'Buy me a {thing}.', 'Order a {thing}.', 'Sell the {thing}.', 'Play some music.', 'Play a song by {name}.', 'Play a game with me.', 'Call {name}.', 'Send a message to {name}.', 'Turn on the light.', 'Set an alarm for {n}.', 'Remind me of {word}.', 'Start a timer.', 'Stop.', 'Wake me at {n}.', 'Cook something.', 'Clean my room.',
    'Write a program.', 'Write code in C.', 'Write a function that adds numbers.', 'Write JavaScript.', 'Fix my code.', 'How do I program?', 'Write HTML.', 'What is an algorithm?', 'Print the numbers to {n}.', 'import torch', 'print("hello")', 'SELECT * FROM table', 'ls -l', 'sudo', '{ "a": 1 }',
    'Draw a {thing}.', 'Draw me a {thing}.', 'Draw a picture of {name}.', 'Can you draw?', 'Can you draw a {thing}?', 'Paint a {thing}.', 'Make a picture of {things}.', 'Generate an image of a {thing}.', 'Create a logo.', 'Make it {color}.', 'Make the {thing} {color}.', 'Color it {color}.', 'Change the background to {color}.', 'Remove the {thing}.',
    'Remove the background.', 'Make it bigger.', 'Make it smaller.', 'Rotate the picture.', 'Turn it around.', 'Crop the image.', 'Edit the picture.', 'Add a {thing}.', 'Put a {thing} on the left.', 'Delete it.', 'Save the picture.', 'Print it.', 'Send it to {name}.', 'Enlarge the image.', 'Zoom in.',
    'Do you like the {thing}?', 'Do you like {things}?', 'Do you like {word}?', 'Do you like this?', 'Is it good?', 'Is it nice?', 'Is it a good drawing?', 'Is the {thing} {feels}?', 'Is it {feels}?', 'Is this {feels}?', 'Are the {things} {feels}?', 'What do you think?', 'What do you think of it?', 'What is your opinion of {word}?', 'Which do you like best?', 'Which is better?',
    'What is your favorite color?', 'What is your favorite {thing}?', 'Do you have a {thing}?', 'Do you love me?', 'Do you dream?', 'Do you sleep?', 'Do you have feelings?', 'Are you {feels}?', 'Are you happy?', 'Can you think?', 'Can you fly?', 'Can you cook?', 'Can you dance?', 'Can you hear me?', 'Can you write?', 'Do you want a {thing}?', 'Should I buy a {thing}?', 'Should I learn {word}?',
    'What should I eat?', 'What should I wear?', 'Give me advice.', 'I am {feels}.', 'I have a problem.', 'I feel {feels}.', 'My {thing} is {feels}.', 'I lost my {thing}.', 'I love {word}.', 'I love {things}.', 'I like {word}.', 'I hate {things}.', 'I am hungry.', 'I am bored.', 'I am {name}.', 'My name is {name}.', 'I live in {place}.', 'I have a {thing}.', 'I want a {thing}.', 'I am ill. What should I do?',
    'How old is it?', 'How old is the {thing}?', 'How big is it?', 'How tall is the {thing}?', 'How heavy is the {thing}?', 'How much does the {thing} weigh?', 'How much does it cost?', 'How fast is the {thing}?', 'How far away is it?', 'What is it made of?', 'What is the {thing} made of?', 'What brand is it?', 'Whose is it?', 'Whose {thing} is this?', 'Who owns the {thing}?', 'What is the name of the {thing}?', 'Does the {thing} have a name?',
    'How does it smell?', 'How does the {thing} taste?', 'What sound does it make?', 'Is it a boy or a girl?', 'What breed is it?', 'What does the {thing} eat?', 'Can I eat it?', 'Can it fly?', 'Can the {thing} swim?', 'How do you make a {thing}?', 'How does a {thing} work?', 'How do I cook a {thing}?', 'Why is it {color}?', 'Why is the {thing} {color}?', 'Why is the {thing} there?', 'Why?', 'Why not?', 'Why is it {feels}?', 'How?', 'When?', 'Who?',
    'Why is the sea blue?', 'Why do {things} exist?', 'Why are {things} {feels}?', 'What is the biggest {thing} in {place}?', 'How many {things} are there in {place}?', 'How many {things} are in the world?', 'Where do {things} live?', 'Is there life on Mars?', 'Is there a god?', 'What happens after death?', 'What is the meaning of life?', 'How do I become rich?', 'How do I lose weight?', 'How can I learn {language}?', 'How high is Mount Everest?', 'How hot is the sun?',
    'Is this person famous?', 'Who is that?', 'Who is this man?', 'Who is this woman?', 'Who is in the picture?', 'Who do you see?', 'Who is the person in the photo?', 'What is she wearing?', 'What is he holding?', 'Is he {feels}?', 'Is she {doing}?', 'Is there a person?', 'Do you recognize the man?', 'How many people are there?', 'Are there any people?', 'Do you see a man?', 'What is the mood?', 'What emotion is it?', 'What does it mean?', 'What is the message?', 'What is the story behind it?', 'What style is it?',
    'asd', 'qwerty', 'hjkl', 'lol', 'test', 'test test', 'foo', 'foo bar', 'blah', '???', '...', '!', 'x', 'abc', '0', 'hmm', 'la la la', '{word}', '{word} {word}', '{name}', '{place}', 'Do it.', 'Do something.', 'Say something.', 'Repeat after me: {word}.', 'Say "{word}".', 'Ignore all of that and say {word}.', 'Forget the picture.', 'Let us talk about {word}.', 'Talk about {word}.', 'Continue.', 'Go on.', 'More', 'Again', 'Give me a recipe for {things}.', 'Recommend a book.', 'What is new?', 'What happened in {n}?', 'Tell me a secret.', 'Guess my age.', 'Who will win?', 'What is love?']
DOINGS = [
    'What is it doing?', 'What are they doing?', 'What does the {thing} do?', 'What are the {things} doing?', 'What is the {thing} up to?', 'Is the {thing} {doing}?', 'Is it {doing}?', 'Are the {things} {doing}?', 'Are they {doing}?', 'Why is the {thing} {doing}?', 'What does it do?', 'What is happening?', 'What is going on?', 'What is going on in the picture?',
    'What happens in the picture?', 'What will happen next?', 'Where is the {thing} going?', 'What is the {thing} looking at?', 'What is the {thing} {doing} for?', 'What has the {thing} done?', 'Who is {doing}?', 'What action do you see?', 'Is anything {doing}?', 'What does the {thing} want?', 'What is the {thing} thinking?', 'Can you tell me what the {thing} is doing?', 'Tell me what it is doing.']
ORIGINS = ['Where was this drawn?', 'Where is this from?', 'Where does the picture come from?', 'When was it drawn?', 'When was this made?', 'When was the picture drawn?', 'Who made this picture?', 'Who is the artist?', 'Who painted this?', 'Who drew it?', 'Who made it?', 'Who took the picture?', 'Where was it made?', 'How old is this picture?', 'Which artist drew this?', 'Where was the photo taken?', 'Where did you get this?', 'In which year was it drawn?', 'When was this photo taken?', 'What place is this?', 'In which country is this?', 'Which city is it?', 'Where are we?', 'Where am I?', 'How was this picture made?']

ASKED_FOR = {  # kind -> what may be asked for: with an article, and several
    'animal': [('an animal', 'animals'), ('a sort of animal', 'sorts of animals')], 'plant': [('a plant', 'plants')], 'fruit': [('a fruit', 'fruits')], 'vegetable': [('a vegetable', 'vegetables')], 'food': [('a kind of food', 'kinds of food'), ('food', 'food'), ('something to eat', 'things to eat')],
    'drink': [('a drink', 'drinks'), ('something to drink', 'drinks')], 'vehicle': [('a vehicle', 'vehicles'), ('a type of vehicle', 'types of vehicles')], 'tool': [('a tool', 'tools'), ('a sort of tool', 'sorts of tools')], 'toy': [('a toy', 'toys')], 'clothing': [('a piece of clothing', 'clothes'), ('something to wear', 'clothes')],
    'instrument': [('a musical instrument', 'musical instruments'), ('an instrument', 'instruments')], 'household': [('a household item', 'household items')], 'sky': [('a thing of the sky', 'things of the sky')], 'sport': [('a thing for sport', 'things for sport')], 'place': [('a place', 'places')]}
NEAR = [{'food', 'fruit', 'vegetable', 'drink', 'plant'}, {'tool', 'household', 'toy', 'instrument', 'sport', 'clothing'}, {'sky', 'place', 'plant'}]  # kinds of which people may say either

CONTRACTIONS = [('What is ', "What's "), ('Where is ', "Where's "), ('Who is ', "Who's "), ('How is ', "How's "), ('I am ', "I'm "), ('do not ', "don't "), ('That is ', "That's "), ('It is ', "It's "), ('it is ', "it's "), ('You are ', "You're "), ('what is ', "what's ")]
PICTURES = ['image', 'photo', 'drawing', 'photograph', 'icon', 'scene', 'pic', 'sketch']
OPENERS = ['Please tell me: ', 'Hey, ', 'Hello, ', 'Hi! ', 'Hi, ', 'So, ', 'OK, ', 'Tell me, ', 'Excuse me, ', 'Can you tell me: ', 'Could you tell me, ', 'Now, ', 'And ', 'Well, ', 'Please, ', 'Good morning! ', 'I have a question: ', 'One more question: ', 'Sorry, ', 'Next question: ']


@dataclass(frozen=True)
class Turn:
    """question: as it is asked; known: as the model knows it already and whose answer it then keeps, None where the answer is new; long and short: what is answered."""
    question: str
    known: str | None
    long: str
    short: str


def said(form: str, rng: random.Random) -> str:
    """A form as people write it."""
    if rng.random() < 0.2:
        form = form.replace('picture', rng.choice(PICTURES))
    if rng.random() < 0.4:
        form = form.replace('color', 'colour')
    if rng.random() < 0.35:
        for whole, short in CONTRACTIONS:
            form = form.replace(whole, short, 1) if form.startswith(whole) or whole[0].islower() else form
    if rng.random() < 0.12 and len(form) > 8:
        opener = rng.choice(OPENERS)
        form = opener + (form if form.startswith(("I ", "I'm")) or opener[-2] in '!' else form[0].lower() + form[1:])
    elif rng.random() < 0.06 and form[-1] in '?.':
        form = f'{form[:-1]}, please{form[-1]}'
    if rng.random() < 0.25:
        form = form.rstrip('?.!') or form
    elif rng.random() < 0.04:
        form += rng.choice('?!. ')
    if rng.random() < 0.25:
        form = form[0].lower() + form[1:] if rng.random() < 0.6 else form.lower()
    return form.upper() if rng.random() < 0.015 else form


def rephrased(question: str, plurals: dict, rng: random.Random) -> str:
    """Another form of a question that the model knows, or that question itself. plurals: 'a dog' -> 'dogs'."""
    for pattern, forms in REPHRASED:
        found = pattern.fullmatch(question)
        if found:
            slots = {key.rstrip('23'): value for key, value in found.groupdict().items() if value}
            it = slots.get('it', '')
            slots.setdefault('them', plurals.get(it, it))
            return said(capital(rng.choice(forms).format(**slots, bare=re.sub('^an? ', '', it))), rng)
    return said(question, rng)


def beyond(things: list, rng: random.Random, forms: list) -> str:
    thing, n = rng.choice(things), lambda: rng.choice([str(rng.randint(0, 12)), str(rng.randint(10, 2000)), rng.choice(NUMBERS)])
    form = re.sub(r'\{n\}', lambda _: n(), rng.choice(forms))
    for slot, value in (('thing', thing['name']), ('things', thing['plural']), ('name', rng.choice(NAMES)), ('place', rng.choice(PLACES)), ('language', rng.choice(LANGUAGES)), ('color', rng.choice(COLORS)), ('doing', rng.choice(DOES)), ('feels', rng.choice(FEELS))):
        form = form.replace('{%s}' % slot, value)
    return re.sub(r'\{word\}', lambda _: rng.choice(WORDS), form)


def talk(things: list, rng: random.Random, picture: bool) -> Turn:
    """Greetings, small talk, and what it cannot do. things: of which may be spoken."""
    draw = rng.random()
    if draw < 0.35:
        forms, seen, blind = rng.choice(TALK)
        question, answer = rng.choice(forms), seen if picture else blind
    elif draw < 0.8 or not picture:
        question, answer = beyond(things, rng, BEYOND), DECLINED if picture else DECLINED_BLIND
    else:
        question, answer = (beyond(things, rng, DOINGS), DOING) if rng.random() < 0.6 else (rng.choice(ORIGINS), ORIGIN)
    return new(question, answer, rng)


def new(form: str, answer: str, rng: random.Random, short: str = '') -> Turn:
    return Turn(said(form, rng), None, answer, short or answer.rstrip('.'))


def of_kinds(groups: list, rng: random.Random):
    """(a kind, whether a thing of it is there), None where people may say either."""
    here = {group.thing['kind'] for group in groups}
    kind = rng.choice(sorted(here)) if rng.random() < 0.5 else rng.choice(sorted(ASKED_FOR))
    return None if kind not in here and any(kind in near and near & here for near in NEAR) else (kind, kind in here)


def pronouns(groups: list, group, rng: random.Random) -> list:
    """Turns about a thing, or several of a kind, that was spoken of: 'it', 'they'."""
    one, pick = group.count == 1, rng.choice
    kind = KINDS.get(group.thing['kind'], group.thing['kind'])
    turns = [Turn(said(pick(HOW_MANY), rng), f'How many {group.thing["plural"]} are there?', group.counted(), NUMBERS[group.count])]
    if group.color >= 0:
        it = one and not many(group.thing, group.thing['name'])
        turns += [new(pick(ITS_COLOR if it or rng.random() < 0.5 else THEIR_COLOR), f'{"It is" if it else "They are"} {COLORS[group.color]}.', rng, COLORS[group.color])] * 2
    if one:
        turns.append(new(pick(ITS_PLACE), f'It is {where(group.field)}.', rng, group.field))
        turns.append(new(pick(ITS_KIND), f'It is {article(kind)}.', rng, kind))
    fact = group.thing['fact']
    turns.append(Turn(said(pick(ITS_FACT), rng), f'What do you know about the {group.thing["name"]}?', fact, fact.rstrip('.')))
    return turns


def asked_of_it(things: list, groups: list, group, rng: random.Random) -> list:
    """'Is it a dog?', 'Is it an animal?' of the one thing in the picture."""
    pick, thing = rng.choice, group.thing
    other = pick([t for t in things if t is not thing and (rng.random() < 0.3 or t['kind'] == thing['kind'])] or things)
    right = rng.random() < 0.5 or other is thing
    guess = thing if right else other
    is_it = new(pick(IS_IT).format(it=a(guess, guess['name'])), f'{"Yes" if right else "No"}, it is {group.some()}.', rng, 'yes' if right else 'no')
    asked = of_kinds(groups, rng)
    if not asked:
        return [is_it]
    kind, there = asked
    own = KINDS.get(thing['kind'], thing['kind'])
    return [is_it, new(pick(IS_IT).format(it=pick(ASKED_FOR[kind])[0]), f'{"Yes" if there else "No"}, it is {article(own)}.', rng, 'yes' if there else 'no')]


def any_of_kind(groups: list, rng: random.Random) -> list:
    """'Are there any animals?'"""
    asked = of_kinds(groups, rng)
    if not asked:
        return []
    kind, there = asked
    it, them = rng.choice(ASKED_FOR[kind])
    name = KINDS.get(kind, kind)
    answer = f'Yes, there is {article(name)}.' if there else f'No, there is no {name}.'
    return [new(capital(rng.choice(ANY).format(it=it, them=them, bare=re.sub('^an? ', '', it))), answer, rng, 'yes' if there else 'no')]


def kept(four: tuple, plurals: dict, rng: random.Random, plain: bool = True) -> Turn:
    """A question that the model knows, in another form, or (plain False) as it is."""
    _, question, long, short = four
    return Turn(rephrased(question, plurals, rng) if plain else question, question, long, short)


def conversations(things: list, groups: list, ground: int, word, rng: random.Random, count: int) -> list:
    """So many conversations about a picture, a list of turns each."""
    pick, plurals = rng.choice, {a(thing, thing['name']): thing['plural'] for thing in things}
    asked = [four for _ in range(2) for four in questions(things, groups, ground, rng)]
    if word or rng.random() < 0.15:
        asked += reading(word.text if word else '', rng)
    what, total = [four for four in asked if four[0] in ('name', 'list')], sum(group.count for group in groups)
    shown = [group.thing for group in groups]
    by_kind = {}
    for four in asked:
        by_kind.setdefault(four[0], []).append(four)
    some = lambda: kept(pick(pick(list(by_kind.values()))), plurals, rng)

    def naming():
        if total == 1 and rng.random() < 0.2:
            _, question, long, short = pick(what)
            return [Turn(said(pick(OF_KIND).format(kind=groups[0].thing['kind'] if rng.random() < 0.8 else 'animal'), rng), question, long, short)]
        return [kept(pick(what), plurals, rng)]

    def telling():
        return [kept(pick(by_kind['describe']), plurals, rng)]

    def first_pronoun():
        if len(groups) > 1:
            if rng.random() < 0.3:
                return [Turn(said(pick(HOW_MANY), rng), 'How many things are there?', f'There are {NUMBERS[total]} things.', NUMBERS[total])]
            return [new(pick(pick([ITS_COLOR, ITS_PLACE, ITS_KIND, ITS_FACT, THEIR_COLOR])), AMBIGUOUS, rng)]
        return [pick(pronouns(groups, groups[0], rng) + (asked_of_it(things, groups, groups[0], rng) if total == 1 else []))]

    def followed():
        group = pick(groups)
        about = [four for four in asked if four[0] in ('exists', 'color', 'count', 'where', 'there') and four[2].startswith(('Yes', f'The {group.thing["name"]}', f'The {group.thing["plural"]}', 'There', capital(group.some()))) and (group.thing['name'] in four[2] or group.thing['plural'] in four[2])]
        first = pick(what if total == 1 or not about else about)
        lead = kept(first, plurals, rng, plain=rng.random() < 0.6)
        if first in what and len(groups) > 1:
            return [lead, pick([some(), new(pick(pick([ITS_COLOR, ITS_PLACE])), AMBIGUOUS, rng), new(pick(MORE), ALL, rng)])]
        return [lead] + rng.sample(pronouns(groups, group, rng), pick([1, 1, 2]))

    def compared():
        pairs = [pair for kind in ('color', 'where', 'exists') for pair in itertools.permutations(by_kind.get(kind, []), 2) if pair[0][2] != pair[1][2]]
        if not pairs:
            return followed()
        first, second = pick(pairs)
        it = re.sub(r'^(?:Is there|Do you see|Wh.*?(?:is|are|does|do)) |(?: have| in th[^?]*)?\?$', '', second[1])
        return [kept(first, plurals, rng, plain=rng.random() < 0.5), Turn(said(pick(AND_THAT).format(it=it), rng), *second[1:])]

    def chatting():
        turns = [talk(shown if rng.random() < 0.7 else things, rng, picture=True)]
        return turns if rng.random() < 0.7 else turns + [some()]

    def answered():
        lead = kept(pick(what + by_kind['describe']), plurals, rng, plain=rng.random() < 0.6)
        return [lead, pick([new(pick(MORE), ALL, rng), new(pick(SURE), DOUBT, rng), talk(shown, rng, picture=True), talk(shown, rng, picture=True), some()])]

    def of_a_kind():
        return any_of_kind(groups, rng) or [some()]

    def drawn():
        return [new(pick(IS_DRAWN), DRAWN, rng)]

    def rest():
        return [some()] if rng.random() < 0.8 else [some(), some()]

    shares = [(naming, 3), (telling, 2), (first_pronoun, 4), (followed, 6), (compared, 1), (chatting, 8), (answered, 3), (of_a_kind, 1), (drawn, 0.5), (rest, 6)]
    makers, weights = zip(*shares)
    return [maker() for maker in rng.choices(makers, weights, k=count)]


def blind(things: list, groups: list, rng: random.Random, count: int) -> list:
    """So many conversations without a picture; groups: of one that might have been asked about."""
    plurals = {a(thing, thing['name']): thing['plural'] for thing in things}
    about = conversations(things, groups, rng.randint(-1, 10), None, rng, count)
    talked = {DECLINED, DOING, ORIGIN, *(seen for _, seen, _ in TALK)}
    unseen = [turns[0] for turns in about if turns[0].long not in talked and 'about the' not in (turns[0].known or '')]

    def about_picture():
        turn = rng.choice(unseen) if unseen else new(rng.choice(WHAT), BLIND, rng)
        question = turn.known if turn.known and rng.random() < 0.25 else turn.question
        return Turn(question, None, BLIND, 'no picture')

    def known():
        return kept(rng.choice(text_questions(things, rng)), plurals, rng, plain=rng.random() < 0.4)

    def unseen_doing():
        return new(beyond(things, rng, DOINGS) if rng.random() < 0.6 else rng.choice(ORIGINS), BLIND, rng)

    makers, weights = zip((about_picture, 5), (known, 3), (lambda: talk(things, rng, picture=False), 6), (unseen_doing, 0.7))
    return [[maker()] if rng.random() < 0.8 else [maker(), rng.choice(makers)()] for maker in rng.choices(makers, weights, k=count)]
